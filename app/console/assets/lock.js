// What is shown instead of a view where the server is closed: a form for the key; and its end.

import { html, useEffect, useRef, useSignal } from "./preact.js";
import { announce, settle } from "./announce.js";
import { opens } from "./api.js";
import { enter, forget, hasKey, locked } from "./key.js";

const KEY = /^[A-Za-z0-9._~+/-]+=*$/; // what a header may carry (RFC 6750)

/** Asks for a key until the server takes one. The field has no name, and is emptied at each try. */
export function Lock() {
  const field = useRef(null);
  const wrong = useSignal("");
  const asking = useSignal(false);
  useEffect(() => {
    document.title = "Key · Narrator";
    field.current.focus();
    return () => document.getElementById("main").focus(); // the field is gone
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    const key = field.current.value.trim();
    field.current.value = "";
    wrong.value = "";
    if (!key) wrong.value = "Enter a key.";
    else if (!KEY.test(key)) wrong.value = "This is no key: it has a character that no key has.";
    else {
      asking.value = true;
      try {
        if (await opens(key)) {
          settle();
          announce("The server takes the key.");
          return enter(key);
        }
        wrong.value = "The server does not take this key. It may be misspelt, revoked, or have ended.";
      } catch (problem) {
        wrong.value = problem.message;
      }
      asking.value = false;
    }
    field.current?.focus();
  };
  return html`<form class="lock" onSubmit=${submit} noValidate aria-labelledby="lock-title">
    <h1 id="lock-title">A key is needed</h1>
    <p>${locked.value}</p>
    <div class=${`field ${wrong.value ? "bad" : ""}`}>
      <label for="lock-key">Key</label>
      <input ref=${field} id="lock-key" type="password" autocomplete="off" autocapitalize="off" spellcheck=${false}
        aria-required="true" aria-invalid=${Boolean(wrong.value)} aria-describedby="lock-wrong lock-help" />
      <p class="wrong" id="lock-wrong" role="alert">${wrong.value}</p>
      <small id="lock-help">It begins with <code>nk_</code>; who runs the server makes one with <code>narrator keys create</code>.
        It is kept for this tab only, until that is closed or you forget it.</small>
    </div>
    <button type="submit" class="primary" disabled=${asking.value}>Open</button>
  </form>`;
}

/** In the bar, while there is a key. */
export const Forget = () => hasKey.value && html`<button type="button" onClick=${forget}>Forget key</button>`;
