// One WebRTC session with the robot, which makes the offer. It lives once and tells when it is over.

const PING_EVERY_MS = 1_000;
const SILENT_AFTER_MS = 2_500; // no pong for so long: the other end is gone (ICE itself takes 5 s and more to see it)
const DISCONNECTED_FOR_MS = 2_000;
const MAX_EARLY_CANDIDATES = 64;

/**
 * Events: "track" (detail: MediaStream), "control" (detail: RTCDataChannel or null), "event" (detail: a message of the
 * robot), "stats" (detail: {rttMs, fps, frames, relayed}), "over" (detail: why).
 */
export class Peer extends EventTarget {
  /** `send(frame)` takes signalling frames to the robot. */
  constructor({ sessionId, iceServers, send }) {
    super();
    this.sessionId = sessionId;
    this.send = send;
    this.closed = false;
    this.rttMs = null;
    this.ponged = null; // when the robot last answered a ping; null until it does so once
    this.measured = null;
    this.early = [];
    this.timers = [];
    this.pc = new RTCPeerConnection({ iceServers });
    this.pc.ontrack = ({ track, streams }) => this.emit("track", streams[0] ?? new MediaStream([track]));
    this.pc.ondatachannel = ({ channel }) => this.adopt(channel);
    this.pc.onicecandidate = ({ candidate }) => this.offerCandidate(candidate);
    this.pc.onconnectionstatechange = () => this.connectionChanged();
    this.timers.push(setInterval(() => this.check(), PING_EVERY_MS));
  }

  /** Answer the robot's offer. */
  async answer(description) {
    try {
      await this.pc.setRemoteDescription(description);
      await this.pc.setLocalDescription(await this.pc.createAnswer());
    } catch (error) {
      this.over(`The robot's offer does not fit this browser (${error.message}).`);
      return;
    }
    if (this.closed) return;
    const { type, sdp } = this.pc.localDescription;
    this.signal({ type: "webrtc_answer", sdp: { type, sdp } });
    for (const candidate of this.early.splice(0)) this.candidate(candidate);
  }

  /** A candidate of the robot. */
  candidate(candidate) {
    if (!candidate?.candidate || this.closed) return;
    if (!this.pc.remoteDescription) {
      if (this.early.length < MAX_EARLY_CANDIDATES) this.early.push(candidate);
      return;
    }
    // One candidate that this browser cannot use does no harm: others may do.
    this.pc.addIceCandidate(candidate).catch((error) => console.warn("ICE candidate ignored:", error.message));
  }

  offerCandidate(candidate) {
    if (!candidate?.candidate) return;
    const { candidate: line, sdpMid, sdpMLineIndex } = candidate;
    this.signal({ type: "webrtc_ice", candidate: { candidate: line, sdpMid, sdpMLineIndex } });
  }

  signal(frame) {
    this.send({ ...frame, session_id: this.sessionId });
  }

  adopt(channel) {
    channel.onclose = () => this.over("The robot closed the connection.");
    if (channel.label === "control") {
      const opened = () => this.emit("control", channel);
      if (channel.readyState === "open") opened();
      else channel.onopen = opened;
    } else if (channel.label === "events") {
      this.events = channel;
    }
    channel.onmessage = ({ data }) => this.receive(data);
  }

  receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch (error) {
      console.warn("A data channel message that is not JSON was ignored:", error.message);
      return;
    }
    if (message === null || typeof message !== "object") return;
    if (message.type !== "pong") {
      this.emit("event", message);
      return;
    }
    this.ponged = performance.now();
    if (typeof message.t === "number") this.rttMs = this.ponged - message.t;
  }

  connectionChanged() {
    const state = this.pc.connectionState;
    clearTimeout(this.grace);
    if (state === "failed" || state === "closed") this.over("The connection to the robot failed.");
    if (state === "disconnected") {
      this.grace = setTimeout(() => this.over("The connection to the robot was lost."), DISCONNECTED_FOR_MS);
    }
  }

  async check() {
    if (this.events?.readyState === "open") {
      this.events.send(JSON.stringify({ type: "ping", t: performance.now() }));
    }
    if (this.ponged !== null && performance.now() - this.ponged > SILENT_AFTER_MS) {
      this.over("The robot fell silent.");
      return;
    }
    const report = await this.pc.getStats();
    if (!this.closed) this.emit("stats", this.read(report));
  }

  read(report) {
    let video = null;
    let pair = null;
    for (const entry of report.values()) {
      if (entry.type === "inbound-rtp" && entry.kind === "video") video = entry;
      if (entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded") pair = entry;
    }
    const frames = video?.framesDecoded ?? 0;
    const before = this.measured;
    this.measured = { frames, at: performance.now() };
    const fps = before ? ((frames - before.frames) * 1000) / (this.measured.at - before.at) : null;
    const ends = [report.get(pair?.localCandidateId), report.get(pair?.remoteCandidateId)];
    const relayed = ends.some((end) => end?.candidateType === "relay");
    const rttMs = this.rttMs ?? (pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000);
    return { rttMs, fps, frames, relayed };
  }

  over(reason) {
    if (this.closed) return;
    this.close();
    this.emit("over", reason);
  }

  /** End it here, without a word to the robot. */
  close() {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.grace);
    this.timers.forEach(clearInterval);
    this.emit("control", null);
    this.pc.close();
  }

  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
