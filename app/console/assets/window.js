// Rows of one height, of which only those near the screen are made: 10,000 cost what 50 do.

import { useEffect, useRef, useState } from "./preact.js";

const WIDE = 40; // pixels of a row; the style sheet says the same
const NARROW = 96;
const narrow = matchMedia("(max-width: 720px)");
const MARGIN = 12; // rows beyond each edge of the screen

/** Which of `length` rows to make; `onEnd` is called when the last ones come near. */
export function useWindow(length, onEnd) {
  const body = useRef(null);
  const [range, setRange] = useState([0, 60]);
  const height = narrow.matches ? NARROW : WIDE;
  useEffect(() => {
    const look = () => {
      if (!body.current) return;
      const size = narrow.matches ? NARROW : WIDE;
      const top = -body.current.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(top / size) - MARGIN);
      const last = first + Math.ceil(innerHeight / size) + 2 * MARGIN;
      setRange((old) => (old[0] === first && old[1] === last ? old : [first, last]));
      if (last >= length) onEnd();
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [length]);
  const first = Math.min(range[0], Math.max(0, length - 1));
  const last = Math.min(range[1], length);
  return {
    body, first, last,
    before: first * height,
    after: (length - last) * height,
    reveal(row) {
      const top = body.current.getBoundingClientRect().top + scrollY + row * height;
      if (top < scrollY + 80) scrollTo(0, top - 80);
      else if (top + height > scrollY + innerHeight) scrollTo(0, top + 2 * height - innerHeight);
    },
  };
}
