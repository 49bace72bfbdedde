// REST calls to whichever server gave us this page.

const TOKEN_KEY = "wimz.token";
const TIMEOUT_MS = 10_000;

/** A refused or failed call. `code` is the contract's, or NETWORK where no answer came. */
export class ApiError extends Error {
  constructor(code, message, status = 0, retryAfterS = undefined) {
    super(message);
    this.code = code;
    this.status = status;
    this.retry_after_s = retryAfterS; // named as on the wire
  }
}

/** Where the account token is kept: for this tab, or, when asked to remember, until signing out. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN_KEY) ?? localStorage.getItem(TOKEN_KEY),
  set: (value, remember) => (remember ? localStorage : sessionStorage).setItem(TOKEN_KEY, value),
  /** A fresh one in the place of the one there is. */
  renew: (value) => token.set(value, localStorage.getItem(TOKEN_KEY) !== null),
  clear: () => {
    listed = [];
    sessionStorage.removeItem(TOKEN_KEY);
    localStorage.removeItem(TOKEN_KEY);
  },
};

/**
 * Call the API and return the JSON reply.
 * @throws {ApiError} with the contract's code and words, or NETWORK.
 */
export async function call(method, path, body = undefined) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    throw new ApiError("NETWORK", `No answer from the server (${error.name}).`);
  }
  const reply = await response.json().catch(() => null);
  if (response.ok) return reply;
  const { code = `HTTP_${response.status}`, message = `The server answered ${response.status}.`, retry_after_s: wait } = reply?.error ?? {};
  throw new ApiError(code, message, response.status, wait);
}

export const clientConfig = () => call("GET", "/client-config.json");

export async function signIn(email, password, { remember = false, register = false } = {}) {
  token.clear();
  const reply = await call("POST", register ? "/api/auth/register" : "/api/auth/login", { email, password });
  token.set(reply.token, remember);
}

/** Whether the sign-in has passed half of its time, so that it is worth a fresh one. */
function grownOld(jwt, nowS = Date.now() / 1000) {
  try {
    const { iat, exp } = JSON.parse(atob(jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return nowS - iat > (exp - iat) / 2;
  } catch {
    return false; // not ours to read; the server says when it is over
  }
}

/** Who comes now and then stays signed in. */
export async function refreshSignIn() {
  if (!token.get() || !grownOld(token.get())) return;
  token.renew((await call("POST", "/api/auth/refresh")).token);
}

export const me = () => call("GET", "/api/auth/me");
export async function changePassword(password, newPassword) {
  token.renew((await call("POST", "/api/auth/password", { password, new_password: newPassword })).token);
}
export const signOutEverywhere = () => call("POST", "/api/auth/logout");
export const deleteAccount = (password) => call("DELETE", "/api/auth/me", { password });

const devicePath = (deviceId, ...more) => ["/api/device", deviceId, ...more].map((part, at) => (at ? encodeURIComponent(part) : part)).join("/");
export const rename = (deviceId, name) => call("PATCH", devicePath(deviceId), { name });
export const unpair = (deviceId) => call("DELETE", devicePath(deviceId));
export const members = (deviceId) => call("GET", devicePath(deviceId, "members"));
export const share = (deviceId, role) => call("POST", devicePath(deviceId, "share"), { role });
export const withdrawCodes = (deviceId) => call("DELETE", devicePath(deviceId, "share"));
export const setRole = (deviceId, userId, role) => call("PATCH", devicePath(deviceId, "members", userId), { role });
export const removeMember = (deviceId, userId) => call("DELETE", devicePath(deviceId, "members", userId));
export const leave = async (deviceId) => removeMember(deviceId, (await me()).user_id);

let listed = [];
export async function robots() {
  listed = (await call("GET", "/api/device/list")).devices;
  return listed;
}
/** What the list last said of a robot, so that its view begins with its name and role; undefined where it said nothing. */
export const lastListed = (deviceId) => listed.find((each) => each.device_id === deviceId);
export const pair = (code) => call("POST", "/api/device/pair", { pairing_code: code });
export const join = (code) => call("POST", "/api/device/join", { share_code: code });
export const telemetry = () => call("GET", "/telemetry");
export const pairing = () => call("GET", "/pairing");
export const unlock = (robotToken) => call("POST", "/session", { token: robotToken });

/** The latest 50 events of one robot, oldest first. Later ones come over the socket. */
export async function history(deviceId) {
  const query = new URLSearchParams({ device_id: deviceId, limit: "50" });
  return (await call("GET", `/api/events?${query}`)).events;
}
