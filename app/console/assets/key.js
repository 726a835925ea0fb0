// The key to a server that is closed: for this tab alone, and in no address.
//
// It is kept in sessionStorage: that ends with the tab, no other tab and no later visitor finds it
// there, as they would in localStorage, and no browser sends it by itself with a request that
// another page makes, as it would a cookie. Without storage it lasts until the page is left.

import { computed, signal } from "./preact.js";

const NAME = `narrator-key ${new URL(document.baseURI).pathname}`; // another server may be beside ours

const key = signal(stored());

/** Whether there is one. */
export const hasKey = computed(() => key.value !== "");

/** Why a key has to be entered before anything else can be done; empty when it has not. */
export const locked = signal("");

/** How often a key was entered: what failed for want of one may be asked for again. */
export const entered = signal(0);

/** What a request with `given` has to say of it. */
export const headers = (given = key.value) => (given ? { authorization: `Bearer ${given}` } : {});

/** The key that is in use; for comparing. */
export const current = () => key.value;

/** Use `given` from now on. */
export function enter(given) {
  keep(given);
  entered.value += 1;
  locked.value = "";
}

/** Forget the key. */
export function forget() {
  keep("");
  locked.value = "The key is forgotten. It takes one to go on.";
}

/** The server has refused a request that went with `used`, and said `why`. */
export function refused(used, why) {
  if (used !== key.value) return; // another one has been entered meanwhile
  keep("");
  locked.value = used ? `The server does not take the key any more: ${why}` : "This server is closed to whoever has none.";
}

function stored() {
  try {
    return sessionStorage.getItem(NAME) || "";
  } catch {
    return "";
  }
}

function keep(given) {
  key.value = given;
  try {
    if (given) sessionStorage.setItem(NAME, given);
    else sessionStorage.removeItem(NAME);
  } catch {
    // It is kept by this page alone.
  }
}
