// REST calls to whichever server gave us this page.

const TOKEN_KEY = "wimz.token";
const TIMEOUT_MS = 10_000;

/** A refused or failed call. `code` is the contract's, or NETWORK where no answer came. */
export class ApiError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** Where the account token is kept: for this tab, or, when asked to remember, until signing out. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN_KEY) ?? localStorage.getItem(TOKEN_KEY),
  set: (value, remember) => (remember ? localStorage : sessionStorage).setItem(TOKEN_KEY, value),
  clear: () => {
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
  const { code = `HTTP_${response.status}`, message = `The server answered ${response.status}.` } = reply?.error ?? {};
  throw new ApiError(code, message, response.status);
}

export const clientConfig = () => call("GET", "/client-config.json");

export async function signIn(email, password, { remember = false, register = false } = {}) {
  token.clear();
  const reply = await call("POST", register ? "/api/auth/register" : "/api/auth/login", { email, password });
  token.set(reply.token, remember);
}

export const robots = async () => (await call("GET", "/api/device/list")).devices;
export const pair = (code) => call("POST", "/api/device/pair", { pairing_code: code });
export const telemetry = () => call("GET", "/telemetry");
export const unlock = (robotToken) => call("POST", "/session", { token: robotToken });

/** Events of one robot, oldest first: the latest 50, or those after a sequence number. */
export async function history(deviceId, after = null) {
  const query = new URLSearchParams({ device_id: deviceId, limit: "50" });
  if (after !== null) query.set("after", String(after));
  return (await call("GET", `/api/events?${query}`)).events;
}
