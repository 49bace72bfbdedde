// One robot: its picture, the sticks, stop, treats, lights, readings and news.

import { lastListed } from "../api.js";
import { cameraPad } from "../controls/camera.js";
import { eventList } from "../controls/eventlist.js";
import { joystick } from "../controls/joystick.js";
import { ledPanel } from "../controls/led.js";
import { missionPanel } from "../controls/missions.js";
import { readings } from "../controls/readings.js";
import { stopBar } from "../controls/stop.js";
import { treatButton } from "../controls/treat.js";
import { h, icon, toast } from "../dom.js";
import { Driver } from "../drive.js";
import { sentence, short } from "../format.js";
import { RobotLink } from "../link.js";
import { VideoSession } from "../session.js";
import { feed } from "./feed.js";
import { layout } from "./layout.js";
import { pairingNote } from "./pairing.js";
import { openSharing } from "./sharing.js";

const TELEMETRY_EVERY_MS = 10_000;
const GENTLE = 0.5; // of full speed, for small rooms and first drives
const RANK = { none: 0, relay: 1, datachannel: 2 }; // ways to the robot, the better the higher
const ROLE_NOTES = { viewer: "You may watch, and stop the robot. Its owner can let you drive it too." };
const ROLE_NEWS = {
  owner: "This robot is yours now.",
  driver: "You may drive this robot now.",
  viewer: "You may only watch this robot now, and stop it.",
};
const HISTORY_LATER = new Set(["BUSY", "UNAVAILABLE", "INTERNAL_ERROR", "RATE_LIMITED"]);
const NOT_YOURS = "You may not use this robot any more.";
const HALTING = new Set(["EMERGENCY_STOPPED", "NOT_AUTHORIZED", "NOT_PAIRED", "BUSY"]); // holding on is of no use

/** The stick with its driver, and the stops that lock it. */
function driving(link, root, onRefusal) {
  const refused = (error) => {
    if (error === null || error.code === "STALE_COMMAND") return;
    if (HALTING.has(error.code)) stick.letGo();
    onRefusal(error);
  };
  const driver = new Driver({
    send: (speeds, watched) => {
      if (watched) link.watchedMotion("motor", speeds).then(refused);
      else link.motion("motor", speeds);
    },
    zero: () => link.zero(),
    blocked: () => stops.latched !== "off" || link.path === "none" || root.dataset.role === "viewer",
  });
  const stick = joystick(driver);
  const stops = stopBar(link, {
    onStop: () => stick.letGo(),
    onChange: (latched) => {
      root.dataset.estop = latched === "on" ? "on" : "off";
      stick.element.classList.toggle("blocked", latched !== "off");
    },
  });
  const gentle = h("button", { id: "gentle", type: "button", class: "quiet", "aria-pressed": "false" }, "Gentle");
  gentle.addEventListener("click", () => {
    driver.scale = driver.scale === 1 ? GENTLE : 1;
    gentle.setAttribute("aria-pressed", String(driver.scale !== 1));
  });
  return { stick, stops, gentle };
}

/** The video with its Watch button and the line that tells how it stands. */
function watching({ socket, deviceId, link, root }) {
  const video = h("video", { id: "video", playsinline: true, autoplay: true, "aria-label": "Robot's camera" });
  video.muted = true;
  const send = (frame) => socket.send(frame);
  const session = new VideoSession({ video, deviceId, send, online: () => link.reachable });
  const watch = h("button", { id: "watch", type: "button", class: "watch" });
  const stateLine = h("p", { id: "state", class: "state", role: "status" });
  watch.addEventListener("click", () => (session.wanted ? session.stop() : session.start()));
  const show = () => {
    if (root.dataset.video !== session.state || !watch.hasChildNodes()) {
      root.dataset.video = session.state;
      watch.replaceChildren(icon(session.wanted ? "square" : "play"), session.wanted ? "Stop watching" : "Watch");
      stateLine.setAttribute("aria-live", session.state === "live" ? "off" : "polite"); // figures are not read out
    }
    stateLine.textContent = session.detail;
    stateLine.hidden = session.detail === "";
  };
  session.addEventListener("state", show);
  session.addEventListener("control", ({ detail }) => link.setChannel(detail));
  show();
  return { session, video, watch, stateLine };
}

/** How the robot is reached, in a word or two. */
function pathWords(link, lan) {
  if (link.path === "datachannel") return "Direct control";
  if (!link.socket.ready) return "Reconnecting…";
  if (!link.reachable) return "Offline";
  return lan ? "Connected" : "Control by server";
}

/** `deviceId` is null on the robot's own page. */
export function robotView({ socket, deviceId, onRefused }) {
  const lan = deviceId === null;
  const link = new RobotLink({ socket, deviceId });
  const root = h("div", { id: "robot", class: "page robot", "data-video": "off", "data-estop": "off", "data-role": lan ? "owner" : "unknown" });
  const complaint = (error) => {
    if (error.code === "EMERGENCY_STOPPED") stops.learn();
    else toast(sentence(error), "warning");
  };
  const { stick, stops, gentle } = driving(link, root, complaint);
  const { session, video, watch, stateLine } = watching({ socket, deviceId, link, root });
  const info = readings();
  const log = eventList();
  const missions = missionPanel(link);
  const treat = treatButton(link, { onGiven: (left) => info.update({ treats_remaining: left }) });
  const name = h("h1", { id: "robot-name", dir: "auto" }, lan ? "Your robot" : short(deviceId, 64));
  const note = h("p", { id: "role-note", class: "role-note", hidden: true });
  const presence = h("span", { id: "presence", class: "presence" });

  const known = (values) => {
    info.update(values);
    if (typeof values.emergency_stop === "boolean") stops.told(values.emergency_stop);
    if (typeof values.treats_remaining === "number") treat.remaining(values.treats_remaining);
  };
  const showPath = () => {
    if (RANK[link.path] < RANK[root.dataset.control]) stick.letGo(); // what was held was held for the way that is gone
    root.dataset.control = link.path;
    root.dataset.online = socket.ready && link.reachable ? "yes" : "no";
    presence.replaceChildren(h("i", { class: "dot" }), pathWords(link, lan));
  };
  link.addEventListener("path", showPath);

  let device = null; // its entry in the list
  const setRole = (role = "owner") => {
    const before = root.dataset.role;
    if (role === before) return;
    root.dataset.role = role;
    note.textContent = ROLE_NOTES[role] ?? "";
    note.hidden = note.textContent === "";
    if (role === "viewer") stick.letGo();
    if (before === "unknown") return;
    document.getElementById("sharing")?.close(); // it shows what the role before could do
    toast(ROLE_NEWS[role] ?? "What you may do with this robot has changed.");
  };
  /** The robot may have been taken away: nothing goes on until the list says how it is. */
  const withdrawn = () => {
    stick.letGo();
    session.stop(NOT_YOURS);
    news.introduce();
  };
  let removed = false; // answers may come when the page has gone on
  const gone = () => {
    if (removed) return;
    toast(NOT_YOURS);
    location.hash = "#/";
  };
  const settings = h("button", { id: "share", type: "button", class: "quiet share", "aria-label": "Sharing and settings", hidden: true }, icon("people"));
  settings.addEventListener("click", () => {
    const onGone = () => {
      location.hash = "#/";
    };
    openSharing({ device, onChange: named, onGone });
  });
  let told = false; // the socket's word on presence is newer than the list's
  const reachable = (online) => {
    const before = link.reachable;
    link.setReachable(online);
    if (online) session.wayBack();
    if (online && !before) news.readings();
  };
  const presenceTold = (message) => {
    const online = message.data?.is_online === true;
    if (message.role !== undefined && message.role !== root.dataset.role) {
      setRole(message.role);
      news.introduce();
    }
    if (told && online !== link.reachable) log.add(message); // only a change is news
    told = true;
    reachable(online);
  };
  const called = ({ name: words, role }) => {
    setRole(role);
    name.textContent = short(words, 80);
  };
  const named = (found) => {
    if (removed) return;
    device = found;
    settings.hidden = false;
    called(device);
    document.title = `${name.textContent} – WIM-Z`;
    if (!told) reachable(device.is_online);
  };
  const news = feed({ lan, deviceId, socket, link, log, known, named, gone, onRefused });

  const event = (message) => {
    const kind = message.event;
    const data = message.data ?? {};
    if (kind === "device_status") presenceTold(message);
    else {
      log.add(message);
      news.live(message);
    }
    if (kind === "status") known(data);
    if (kind === "mode" || kind === "mission") missions.refresh();
    if (kind === "treat" || kind === "treat_dispensed") {
      known({ treats_remaining: data.remaining ?? message.remaining }); // robots in the field put it beside `event`
    }
  };
  const heard = (message) => {
    if (message.type === "command_result" || (message.type === "error" && message.id !== undefined)) {
      link.handle(message);
      return;
    }
    const about = message.device_id ?? message.data?.device_id ?? deviceId;
    if (!lan && about !== deviceId) return;
    if (message.type === "caught_up") {
      news.page(message);
      return;
    }
    if (message.type === "error" && message.device_id === deviceId && message.command === undefined) {
      if (message.code === "NOT_AUTHORIZED" || message.code === "NOT_PAIRED") {
        withdrawn();
        return;
      }
      if (HISTORY_LATER.has(message.code) && news.refused()) return;
    }
    if (message.event !== undefined) event(message);
    else if (message.type === "battery") {
      known({ battery: message.level, temperature: message.temperature, is_charging: message.charging });
    } else if (message.type === "mode_changed") {
      log.add({ event: "mode_changed", data: message, timestamp: Date.now() / 1000 });
    } else if (!session.handle(message) && message.type === "error") complaint(message);
  };
  session.addEventListener("event", ({ detail }) => heard(detail));

  const onOpen = () => {
    showPath();
    session.wayBack();
    news.readings();
    news.missed();
    missions.refresh();
  };
  const onLost = () => {
    news.lost();
    showPath();
    session.wayLost();
  };
  const listeners = [
    [socket, "message", ({ detail }) => heard(detail)],
    [socket, "open", onOpen],
    [socket, "lost", onLost],
    [globalThis, "pagehide", () => session.pause()],
    [globalThis, "pageshow", (shown) => shown.persisted && session.wayBack()],
    [globalThis, "keydown", (key) => key.code === "Escape" && stops.stop()],
  ];
  for (const [target, type, listener] of listeners) target.addEventListener(type, listener);
  const lookAgain = () => {
    news.readings();
    news.fillAgain();
  };
  const timer = setInterval(lookAgain, TELEMETRY_EVERY_MS);

  const pairing = lan ? pairingNote() : { element: null, remove: () => {} };
  const parts = { note, pairing: pairing.element, stops: stops.element, treat: treat.element, lights: ledPanel(link), missions: missions.element, events: log.element };
  const shown = { lan, name, presence, settings, video, stateLine, watch, gentle, stick: stick.element, camera: cameraPad(link) };
  root.append(...layout({ ...shown, ...parts, readings: info.element }));
  showPath();
  const before = lan ? undefined : lastListed(deviceId);
  if (before) called(before);
  news.introduce();
  if (socket.ready) onOpen();

  const remove = () => {
    removed = true;
    clearInterval(timer);
    missions.remove();
    pairing.remove();
    for (const [target, type, listener] of listeners) target.removeEventListener(type, listener);
    stick.remove();
    link.cancelUrgent();
    session.stop();
    news.lost();
    document.getElementById("sharing")?.close();
  };
  return { element: root, remove };
}
