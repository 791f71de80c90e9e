/**
 * Small helpers to build the page.
 */

/**
 * Return a new element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} name
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} content
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(name, attributes = {}, ...content) {
  const result = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) result.setAttribute(key, value);
  result.append(...content);
  return result;
}

/**
 * Return a new element of a drawing.
 *
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} content
 */
export function drawing(name, attributes, ...content) {
  const result = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) result.setAttribute(key, String(value));
  result.append(...content);
  return result;
}

/** Return the element of the page that has an id.
 * @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element ${id}.`);
  return found;
}

/** Return a file as an address that holds its content.
 * @param {Blob} file @returns {Promise<string>} */
export function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** Return a button that saves content as a file.
 * @param {string} text of the button @param {string} name of the file @param {string} type
 * @param {() => string} content */
export function saveButton(text, name, type, content) {
  const button = element("button", { type: "button", class: "save" }, text);
  button.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([content()], { type }));
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  });
  return button;
}

/** Return a share as whole percent.
 * @param {number} share */
export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

/** Return a time as minutes and seconds.
 * @param {number} seconds */
export function clock(seconds) {
  const tenths = Math.round(10 * seconds);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}
