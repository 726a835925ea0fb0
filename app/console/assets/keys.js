// Keys: each view says which it has, and `?` shows them. Typing in a field is left alone.

import { html, signal, useLayoutEffect } from "./preact.js";

const bindings = signal([]);
const helpOpen = signal(false);

/** While the calling component is shown: [[key, what it does, action], …]. */
export function useKeys(keys, inputs = []) {
  useLayoutEffect(() => {
    bindings.value = [...bindings.value, keys];
    return () => {
      bindings.value = bindings.value.filter((each) => each !== keys);
    };
  }, inputs);
}

const typing = (target) => target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, dialog");

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && typing(event.target)) return event.target.blur();
  if (typing(event.target)) return;
  if (event.key === "?") {
    helpOpen.value = true;
    return;
  }
  for (const keys of [...bindings.value].reverse()) {
    const found = keys.find(([key]) => key.split(" ").includes(event.key));
    if (found) {
      event.preventDefault();
      return found[2](event.key);
    }
  }
});

/** The list of keys, as a dialog. */
export function Help() {
  const show = (dialog) => {
    if (!dialog) return;
    if (helpOpen.value && !dialog.open) dialog.showModal();
    if (!helpOpen.value && dialog.open) dialog.close();
  };
  const close = () => {
    helpOpen.value = false;
  };
  return html`<dialog ref=${show} onClose=${close} aria-labelledby="keys-title" open-now=${helpOpen.value}>
    <h2 id="keys-title">Keys</h2>
    <table class="keys"><tbody>
      ${bindings.value.flat().map(
        ([key, what]) => html`<tr key=${key + what}>
          <th scope="row">${key.split(" ").map((each) => html`<kbd key=${each}>${NAMES[each] || each}</kbd> `)}</th>
          <td>${what}</td></tr>`,
      )}
      <tr><th scope="row"><kbd>?</kbd></th><td>show these keys</td></tr>
    </tbody></table>
    <button type="button" onClick=${close}>Close</button>
  </dialog>`;
}

export const showHelp = () => {
  helpOpen.value = true;
};

const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
