// Copying. Browsers allow it on a reader's own action only.

import { toast } from "./toasts.js";

export async function copyText(text, said = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    toast({ text: said });
  } catch {
    toast({ text: "The browser did not allow copying.", kind: "error" });
  }
}

/** The address of what is on screen: a view's whole state is in it. */
export const copyLink = () => copyText(location.href, "Link copied");
