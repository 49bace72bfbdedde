// Battery, warmth, treats and Wi-Fi in one line.

import { h, icon } from "../dom.js";
import { battery, count, temperature, wifi } from "../format.js";

const READINGS = [
  ["battery", "Battery", (values) => battery(values.battery, values.is_charging)],
  ["heat", "Temperature", (values) => temperature(values.temperature)],
  ["treat", "Treats left", (values) => count(values.treats_remaining)],
  ["wifi", "Wi-Fi", (values) => wifi(values.wifi_strength)],
];

export function readings() {
  const values = {};
  const cells = READINGS.map(([drawing, label, words]) => {
    const value = h("dd", { id: `reading-${drawing}` });
    const element = h("div", { class: "reading", title: label }, icon(drawing), h("dt", {}, label), value);
    return { element, show: () => (value.textContent = words(values)) };
  });
  const update = (news) => {
    Object.assign(values, news);
    for (const cell of cells) cell.show();
  };
  update({});
  return { element: h("dl", { id: "readings", class: "readings" }, cells.map((cell) => cell.element)), update };
}
