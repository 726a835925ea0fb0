// Links out of the console to the API. With a key they are fetched, since no link carries a header.

import { html } from "./preact.js";
import { notice } from "./announce.js";
import { call, file } from "./api.js";
import { hasKey } from "./key.js";

const KEPT_MS = 60_000;

/**
 * A link to `href`, opened in `target`, or saved as `download`. With a key, `fetched` is asked for in
 * its place, if given, and opened beside the page; a `stream` is, with a token for it alone.
 */
export function Api({ href, download, target = null, fetched = href, stream = false, children }) {
  const open = async (event) => {
    if (!hasKey.value || event.defaultPrevented) return;
    event.preventDefault();
    try {
      if (stream) leave((await call("POST", `${href}-token`)).stream);
      else leave(URL.createObjectURL(await file(fetched)), download);
    } catch (problem) {
      notice(problem.message, { bad: true });
    }
  };
  return html`<a href=${href} download=${download} target=${target} rel="noopener" onClick=${open}>${children}</a>`;
}

function leave(address, download) {
  const link = document.createElement("a");
  link.href = address;
  if (download) link.download = download;
  else {
    link.target = "_blank";
    link.rel = "noopener";
  }
  link.click();
  if (address.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(address), KEPT_MS);
}
