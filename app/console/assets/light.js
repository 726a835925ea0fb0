// What is under the pointer, or has the focus, lights up in the story and in the waterfall alike.
//
// Rows carry their span in data-span; the class is set on the elements themselves, so that moving
// the pointer draws nothing anew.

import { effect, signal, useEffect } from "./preact.js";

/** The span and the time (milliseconds) that are lit. */
export const lit = signal({ span: null, at: null });

/** Light what is pointed at in the element of `ref`. */
export function useLight(ref) {
  useEffect(() => {
    const on = (event) => {
      const row = event.target.closest?.("[data-span]");
      const span = row?.dataset.span || null;
      const at = row?.dataset.at ? Number(row.dataset.at) : null;
      if (span !== lit.value.span || at !== lit.value.at) lit.value = { span, at };
    };
    const off = () => {
      lit.value = { span: null, at: null };
    };
    const element = ref.current;
    element.addEventListener("pointerover", on);
    element.addEventListener("focusin", on);
    element.addEventListener("pointerleave", off);
    return () => {
      element.removeEventListener("pointerover", on);
      element.removeEventListener("focusin", on);
      element.removeEventListener("pointerleave", off);
    };
  }, []);
}

effect(() => {
  const { span } = lit.value;
  for (const each of document.querySelectorAll(".lit")) each.classList.remove("lit");
  if (!span) return;
  for (const each of document.querySelectorAll(`[data-span="${CSS.escape(span)}"]`)) each.classList.add("lit");
});
