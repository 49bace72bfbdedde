// The news on the page.

import { h, icon } from "../dom.js";
import { describe, EventLog } from "../events.js";

export function eventList() {
  const log = new EventLog();
  const list = h("ol", { id: "events", class: "events", tabindex: "0", "aria-labelledby": "events-title" });
  const empty = h("li", { class: "empty" }, "Nothing yet.");

  const row = (event) => {
    const { icon: drawing, text, more, tone, time } = describe(event);
    return h(
      "li",
      { class: `event ${tone}`, "data-event": event.event },
      icon(drawing),
      h("span", { class: "event-words", dir: "auto" }, text, more && h("small", {}, more)),
      h("time", {}, time),
    );
  };
  const show = () => list.replaceChildren(...(log.items.length ? log.items.map(row) : [empty]));
  let due = false;
  const add = (event, past = false) => {
    if (!log.add(event, past) || due) return;
    due = true; // many at once are drawn once
    queueMicrotask(() => {
      due = false;
      show();
    });
  };
  show();
  return { element: list, add };
}
