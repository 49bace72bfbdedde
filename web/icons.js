// The drawings of the page: shapes on a 24 × 24 grid, in the colour of the text around them.

const ROUND = { "stroke-linecap": "round", "stroke-linejoin": "round" };
const LINE = { fill: "none", stroke: "currentColor", "stroke-width": 2, ...ROUND };
const SOLID = { fill: "currentColor" };

const path = (d, attributes = {}) => ["path", { d, ...attributes }];
const rect = (x, y, width, height, rx) => ["rect", { x, y, width, height, rx }];
const circle = (cx, cy, r) => ["circle", { cx, cy, r }];

/** Name → [attributes of the whole, its shapes]. */
export const ICONS = {
  back: [LINE, [path("M15 5l-7 7 7 7")]],
  play: [SOLID, [path("M8 5.6v12.8c0 .8.9 1.3 1.6.9l10-6.4c.6-.4.6-1.4 0-1.8l-10-6.4C8.9 4.3 8 4.8 8 5.6z")]],
  square: [SOLID, [rect(6, 6, 12, 12, 2.5)]],
  hand: [LINE, [path("M8.2 3h7.6L21 8.2v7.6L15.8 21H8.2L3 15.8V8.2z"), path("M12 8v5M12 16.2v.1")]],
  treat: [LINE, [path("M8.6 12.7a2.6 2.6 0 1 0-3.2 3.2 2.6 2.6 0 1 0 3.2 3.2l8-8a2.6 2.6 0 1 0 2.8-4.6 2.6 2.6 0 1 0-4.6-1.3 2.6 2.6 0 0 0 0 1.3z", { transform: "translate(-.4 -.6)" })]],
  battery: [LINE, [rect(3, 7.5, 15.5, 9, 2.2), path("M21.2 10.7v2.6"), path("M6 10.2v3.6h6v-3.6z", { fill: "currentColor", stroke: "none" })]],
  heat: [LINE, [path("M10 13.8V5.5a2 2 0 1 1 4 0v8.3a4 4 0 1 1-4 0z"), path("M12 9.5v7")]],
  wifi: [LINE, [path("M3.5 9.8a12.4 12.4 0 0 1 17 0M6.7 13.2a7.7 7.7 0 0 1 10.6 0M9.8 16.5a3.2 3.2 0 0 1 4.4 0"), path("M12 19.3v.1")]],
  centre: [LINE, [circle(12, 12, 3.2), path("M12 3v4M12 17v4M3 12h4M17 12h4")]],
  alert: [LINE, [path("M12 4l9 16H3z"), path("M12 10.5v4M12 17.2v.1")]],
  eye: [LINE, [path("M2.5 12S6 5.8 12 5.8 21.5 12 21.5 12 18 18.2 12 18.2 2.5 12 2.5 12z"), circle(12, 12, 2.8)]],
  link: [LINE, [circle(12, 12, 2.5), path("M7 17a7 7 0 0 1 0-10M17 7a7 7 0 0 1 0 10")]],
  flag: [LINE, [path("M6 21V4h11l-2 4 2 4H6")]],
  people: [LINE, [circle(9, 8.5, 3.2), path("M3 19.5a6 6 0 0 1 12 0M15.5 5.6a3.2 3.2 0 0 1 0 5.8M17.5 14.2a6 6 0 0 1 3.5 5.3")]],
  chevron: [LINE, [path("M9 5l7 7-7 7")]],
};
