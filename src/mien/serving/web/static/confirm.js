// Ask before something is deleted.

import { one } from "./elements.js";

export function confirmed() {
  const dialog = one("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
