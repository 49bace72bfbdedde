// The web client: which server gave us this page, who is signed in, and which view shows.
//
// Stable hooks for tests and debugging:
//   sign-in     #email #password #remember #sign-in #switch (sign in / create account) #problem (what went wrong)
//   robots      #robots a[data-device][data-online="yes|no"], #pairing-code #pair (joins too), #account-link, #sign-out
//   account     #account-email, #password-form #old-password #new-password, #everywhere-form, #delete-form #delete-password
//   sharing     #share opens #sharing: #members li[data-member][data-role], #share-role #share-make #share-code
//               #share-withdraw, #rename #rename-save, #unpair, #leave, #sharing-problem #sharing-close
//   robot's own #robot-token #unlock, #pairing #own-code
//   one robot   #robot[data-video="off|connecting|live|retrying"][data-control="datachannel|relay|none"]
//               [data-estop="on|off"][data-online="yes|no"][data-role="owner|driver|viewer|unknown"]
//               #video #watch ("Watch" / "Stop watching") #state #presence #back #robot-name #role-note
//               #joystick #gentle #look #pan #tilt #center #angles #treat #treats-left #treat-state
//               #stop #estop #release #estop-state #led-pattern #led-color #led-off
//               #reading-battery #reading-heat #reading-treat #reading-wifi, #events li[data-event]
// Routes: #/ (sign in, or the robots), #/robot/ID, #/account.

import { ApiError, clientConfig, refreshSignIn, telemetry, token } from "./api.js";
import { backoffMs } from "./backoff.js";
import { h } from "./dom.js";
import { sentence } from "./format.js";
import { Socket, socketUrl } from "./socket.js";
import { accountView } from "./views/account.js";
import { robotView } from "./views/robot.js";
import { robotsView } from "./views/robots.js";
import { signInView } from "./views/signin.js";
import { unlockView } from "./views/unlock.js";

let view = null;
let socket = null;

const FRESHEN_EVERY_MS = 600_000; // a page may stay open for longer than a sign-in lasts

/** Who hears the page instead of seeing it is taken to the new view's heading. */
function announce(heading, first) {
  document.title = heading ? `${heading.textContent} – WIM-Z` : "WIM-Z";
  if (first || !heading) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

function show(next) {
  const first = view === null;
  view?.remove();
  view = next;
  document.querySelectorAll(".toast.warning, .toast.danger").forEach((note) => note.remove()); // about the view before
  document.getElementById("view").replaceChildren(next.element);
  scrollTo(0, 0);
  announce(next.element.querySelector("h1"), first);
}

function closeSocket() {
  socket?.stop();
  socket = null;
}

// -- served by the relay ---------------------------------------------------------------------------

function signOut(notice = "") {
  token.clear();
  closeSocket();
  history.replaceState(null, "", "#/");
  routeRelay(notice);
}

function openSocket() {
  let told = ""; // the token of the last attempt; by now there may be a fresher one
  socket = new Socket({ url: socketUrl("/ws"), authenticate: () => (told = token.get() ?? "") });
  const again = () => (token.get() && token.get() !== told ? socket.start() : signOut("Please sign in again."));
  socket.addEventListener("refused", again);
  socket.start();
}

/** Do what ends the account's sockets while ours is closed: what is refused then is not our sign-in. */
async function apart(action) {
  closeSocket();
  try {
    await action();
  } finally {
    if (token.get()) openSocket();
  }
}

function routeRelay(notice = "") {
  if (!token.get()) {
    show(signInView({ notice, onDone: () => routeRelay() }));
    return;
  }
  if (!socket) openSocket();
  const [, place, id] = location.hash.replace(/^#/, "").split("/");
  const common = { socket, onRefused: signOut };
  if (place === "robot" && id) show(robotView({ ...common, deviceId: decodeURIComponent(id) }));
  else if (place === "account") show(accountView({ apart, onEnd: signOut, onRefused: signOut }));
  else show(robotsView({ ...common, onSignOut: () => signOut() }));
}

// -- served by the robot ---------------------------------------------------------------------------

function askForToken() {
  closeSocket();
  show(unlockView({ onDone: () => start() }));
}

async function openRobot() {
  try {
    await telemetry();
  } catch (error) {
    if (error.status === 401) {
      askForToken();
      return;
    }
    if (error.code === "NETWORK") throw error; // else the robot is there, only its readings are not
  }
  closeSocket();
  socket = new Socket({ url: socketUrl("/ws"), authenticate: () => null });
  socket.addEventListener("refused", askForToken);
  socket.start();
  show(robotView({ socket, deviceId: null, onRefused: askForToken }));
}

// -- start -----------------------------------------------------------------------------------------

function serviceWorker() {
  if (!globalThis.isSecureContext || !("serviceWorker" in navigator)) return;
  navigator.serviceWorker.register("sw.js").catch((error) => console.warn("Not installable:", error.message));
}

async function start(attempt = 0) {
  try {
    const { served_by: servedBy } = await clientConfig();
    if (servedBy === "robot") {
      await openRobot();
      return;
    }
    serviceWorker();
    const freshen = () => refreshSignIn().catch((error) => console.info("No fresh sign-in:", error.message));
    await freshen(); // where it fails, the old one may do
    setInterval(freshen, FRESHEN_EVERY_MS);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && freshen());
    addEventListener("hashchange", () => routeRelay());
    routeRelay();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const words = h("p", { id: "problem", class: "card notice", role: "alert" }, sentence(error), " Trying again…");
    show({ element: h("main", { class: "page narrow" }, words), remove: () => {} });
    setTimeout(() => start(attempt + 1), backoffMs(attempt));
  }
}

start();
