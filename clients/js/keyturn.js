/**
 * Keyturn in the browser: keeps the people of a page signed in.
 *
 *     import { Keyturn } from "/keyturn.js";
 *
 *     const keyturn = new Keyturn();
 *     keyturn.addEventListener("signedout", ({ detail }) => { location.href = "/login"; });
 *     keyturn.keepFresh();
 *     const answer = await keyturn.fetch("/api/orders");
 *
 * Tokens are in HttpOnly cookies and never seen here. A 401 on an access token never means signed
 * out: it is exchanged, and the request repeated. Only a refused exchange does, and it is repeated
 * once before anybody is told. Of several tabs one exchanges, where the browser has Web Locks; in
 * one that has not, exchanges of several tabs do no harm.
 */

const SECONDS = 1000;
/** A round trip that takes longer counts as lost. The protocol bears a third of its window. */
const PATIENCE = 10 * SECONDS;
/** Of another tab, until it is taken to stand still, as before a box that waits for an answer. */
const LONGEST_TURN = 2 * PATIENCE;
const BEFORE_REPEAT = 300;
const LONGEST_PAUSE = 60 * SECONDS;
/** How old what is known may be when somebody comes back to the page. */
const STILL_NEWS = 15 * SECONDS;
const TO_HEAR = 100;
const MOST_LATE = 5;
const MOST_TRIES = 3;

/** What the server, or the way to it, refused. `code` is what programs go by. */
export class Problem extends Error {
  constructor({ code, message = code, status = 0, remedy = "retry", ...more }) {
    super(message);
    this.name = "Problem";
    this.code = code;
    /** Of HTTP; 0 where there was no answer. */
    this.status = status;
    this.remedy = remedy;
    this.field = more.field ?? "";
    this.reason = more.reason ?? "";
    /** Seconds. */
    this.retryAfter = more.retryAfter ?? 0;
    /** What the server's log calls the request; empty where there was no answer. */
    this.requestId = more.requestId ?? "";
  }

  /** Whether the same may be asked again later, as nothing is known to be wrong with it. */
  get passes() {
    return [0, 502, 503, 504].includes(this.status);
  }
}

/**
 * One service. Events, each with a `detail`:
 * `signedout` {reason, elsewhere}: the session is over; `elsewhere` if another tab knew first.
 * `signedin` {elsewhere: true}: somebody signed in in another tab; it may be somebody else.
 * `refreshed` {expiresIn}: there is a new access token.
 */
export class Keyturn extends EventTarget {
  #base;
  #name;
  #channel = null;
  #exchange = null;
  #exchanges = 0;
  #heardAt = 0;
  #isOver = false;
  #keeps = false;
  #timer = 0;
  #dueAt = Infinity;
  #failures = 0;

  /** @param {{base?: string | URL}} options  The public URL; where this file is, if not given. */
  constructor({ base = new URL(".", import.meta.url) } = {}) {
    super();
    this.#base = new URL(base, globalThis.location?.href);
    if (!this.#base.pathname.endsWith("/")) this.#base.pathname += "/";
    this.#name = `keyturn ${this.#base.pathname}`;
    if (typeof BroadcastChannel === "function") {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
    }
  }

  // ── what can be asked ─────────────────────────────────────────────────────────────────────────

  /** @returns {Promise<{user: object}>} */
  register({ username, email, fullname, password }) {
    return this.#ask("POST", "register", { username, email, fullname, password });
  }

  /**
   * @param {{username?: string, email?: string, password: string, remember?: boolean}} credentials
   * @returns {Promise<{user: object}>}
   */
  login(credentials) {
    return this.#begin("login", credentials);
  }

  changePassword(currentPassword, newPassword) {
    return this.#withAccess(() => this.#begin("change-password", { currentPassword, newPassword }));
  }

  /** Sets another password, by the token of a link. Every session ends, and none begins. */
  resetPassword(token, newPassword) {
    return this.#ask("POST", "reset-password", { token, newPassword });
  }

  /**
   * Needs the current password with an email. Access tokens with the old names are void then.
   * @param {{email?: string, fullname?: string, currentPassword?: string}} change
   * @returns {Promise<{user: object}>}
   */
  changeProfile(change) {
    return this.#withAccess(() => this.#ask("PATCH", "me", change));
  }

  /** All that is known of the user.
   * @returns {Promise<{account: object, sessions: object[], events: object[]}>}
   */
  exportData() {
    return this.#withAccess(() => this.#ask("GET", "me/export"));
  }

  /** Deletes the user; every session ends. */
  async deleteAccount(currentPassword) {
    await this.#withAccess(() => this.#alone(() => this.#ask("DELETE", "me", { currentPassword })));
    this.#leave("user_deleted");
  }

  /** Ends the session. Where the server cannot record that, the cookies are gone all the same. */
  async logout() {
    try {
      await this.#alone(() => this.#ask("POST", "logout"));
    } catch (problem) {
      // Another's 503, as of a proxy's, took no cookie away.
      if (problem.status === 503 && problem.code === "unavailable") {
        this.#leave("logged_out_unconfirmed");
      }
      throw problem;
    }
    this.#leave("logged_out");
  }

  /** @returns {Promise<{user: object}>} */
  me() {
    return this.#withAccess(() => this.#ask("GET", "me"));
  }

  /** @returns {Promise<{sessions: object[]}>} */
  sessions() {
    return this.#withAccess(() => this.#ask("GET", "sessions"));
  }

  endSession(sid) {
    return this.#withAccess(() => this.#ask("DELETE", `sessions/${encodeURIComponent(sid)}`));
  }

  /** @returns {Promise<{ended: number}>} */
  endOtherSessions() {
    return this.#withAccess(() => this.#ask("POST", "logout-others"));
  }

  /** As the browser's own, for requests that need an access token: on a 401 it is exchanged, and
   * the request repeated. */
  fetch(resource, options) {
    const request = new Request(resource, options);
    return this.#repeated(() => fetch(request.clone()), ({ status }) => status === 401);
  }

  // ── keeping fresh ─────────────────────────────────────────────────────────────────────────────

  /**
   * Exchanges by itself from now on, whenever it is time and somebody looks at the page.
   * @param {{expiresIn?: number, refreshIn?: number}} known  Seconds: what is left of the access
   *   token, and when it is best exchanged, as far as the page was told. Without either, now.
   */
  keepFresh({ expiresIn = 0, refreshIn } = {}) {
    this.#schedule(refreshIn ?? expiresIn * (0.5 + 0.4 * Math.random()));
    this.#heardAt = Date.now();
    if (this.#keeps) return;
    this.#keeps = true;
    for (const moment of ["visibilitychange", "focus", "pageshow", "online"]) {
      const target = moment === "visibilitychange" ? document : window;
      target.addEventListener(moment, ({ persisted }) => this.#wake({ isBack: persisted }));
    }
  }

  /** Sees whether the session lives still. Rejects as `refresh` does. */
  async check() {
    await this.me();
  }

  /**
   * Exchanges the refresh token. Who asks meanwhile, in this tab or another, shares one exchange.
   * Rejects with a `Problem`; of remedy `login` if the session is over, after `signedout`.
   */
  refresh() {
    return this.#refreshSince(this.#exchanges);
  }

  /** Sees to it that there was an exchange after the first `seen` ones, of whichever tab. */
  async #refreshSince(seen) {
    if (seen !== this.#exchanges) return;
    this.#exchange ??= this.#exchangeAlone(seen).finally(() => {
      this.#exchange = null;
    });
    await this.#exchange;
  }

  #exchangeAlone(seen) {
    return this.#alone(async (waited) => {
      if (waited) await pause(TO_HEAR); // what another tab tells travels apart from its lock
      if (seen === this.#exchanges) await this.#exchangeOrLeave();
    });
  }

  async #exchangeOrLeave() {
    try {
      await this.#exchangeOnce();
    } catch (first) {
      if (first.remedy !== "login") throw first;
      await pause(BEFORE_REPEAT);
      try {
        await this.#exchangeOnce();
      } catch (second) {
        if (second.remedy === "login") this.#over(reasonOf(second));
        throw second;
      }
    }
  }

  /** Who is late by one turn has the newer cookie in a moment. */
  async #exchangeOnce() {
    for (let late = 1; ; late += 1) {
      try {
        const times = await this.#ask("POST", "refresh-token");
        this.#refreshed(times);
        this.#tell({ kind: "refreshed", ...times });
        return;
      } catch (problem) {
        if (problem.status !== 409 || late === MOST_LATE) throw problem;
        await pause(late * BEFORE_REPEAT);
      }
    }
  }

  #refreshed({ expiresIn, refreshIn }) {
    this.#exchanges += 1;
    this.#failures = 0;
    this.#isOver = false;
    this.#heardAt = Date.now();
    if (this.#keeps) this.#schedule(refreshIn);
    this.#dispatch("refreshed", { expiresIn });
  }

  /** By whichever comes first: the timer, or the clock, as a computer that sleeps stops timers. */
  #schedule(seconds) {
    clearTimeout(this.#timer);
    this.#dueAt = Date.now() + seconds * SECONDS;
    const wait = Math.min(seconds * SECONDS, 2 ** 31 - 1);
    this.#timer = setTimeout(() => this.#wake({ isDue: true }), wait);
  }

  /**
   * A page that nobody looks at lets its access token end, so that a session can grow idle.
   * @param {{isDue?: boolean, isBack?: boolean}} why  The time for an exchange has come; the page
   *   is shown again as it was left, whatever happened since.
   */
  async #wake({ isDue = false, isBack = false }) {
    if (this.#isOver || document.visibilityState === "hidden") return;
    try {
      if (isDue || Date.now() >= this.#dueAt) {
        await this.refresh();
      } else if (isBack || Date.now() >= this.#heardAt + STILL_NEWS) {
        await this.check();
      }
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.remedy !== "login") this.#tryLater(problem);
    }
  }

  #tryLater({ retryAfter }) {
    this.#failures += 1;
    const pauseBefore = Math.min(2 ** this.#failures * SECONDS, LONGEST_PAUSE);
    this.#schedule(Math.max(pauseBefore / SECONDS, retryAfter));
  }

  // ── other tabs ────────────────────────────────────────────────────────────────────────────────

  /** Runs `action` while no other tab exchanges, signs in or out, as all have the same cookies. It
   * is told whether it had to wait for one that did. */
  async #alone(action) {
    const locks = globalThis.navigator?.locks;
    if (!locks) return action(false);
    const taken = Symbol("taken");
    const first = await locks.request(this.#name, { ifAvailable: true }, (lock) =>
      lock ? action(false) : taken,
    );
    if (first !== taken) return first;
    const signal = AbortSignal.timeout(LONGEST_TURN);
    try {
      return await locks.request(this.#name, { signal }, () => action(true));
    } catch (error) {
      if (error.name !== "TimeoutError") throw error;
      return action(true); // that tab stands still; the server bears two at once
    }
  }

  #tell(message) {
    this.#channel?.postMessage(message);
  }

  #hear(message) {
    if (message.kind === "refreshed") this.#refreshed(message);
    if (message.kind === "signedin") this.#begun(message);
    if (message.kind === "signedout") this.#over(message.reason, true);
  }

  /** In another tab: this one has those cookies too, and goes on if it was over here. */
  #begun({ refreshIn = 0 }) {
    this.#isOver = false;
    if (this.#keeps) this.#schedule(refreshIn);
    this.#dispatch("signedin", { elsewhere: true });
  }

  #leave(reason) {
    this.#tell({ kind: "signedout", reason });
    this.#over(reason);
  }

  #over(reason, elsewhere = false) {
    clearTimeout(this.#timer);
    this.#isOver = true;
    this.#dispatch("signedout", { reason, elsewhere });
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // ── asking ────────────────────────────────────────────────────────────────────────────────────

  /** Begins a session: after that, nothing that another tab knew holds. */
  async #begin(path, body) {
    const data = await this.#alone(() => this.#ask("POST", path, body));
    this.#refreshed(data);
    this.#tell({ kind: "signedin", refreshIn: data.refreshIn });
    return data;
  }

  async #withAccess(ask) {
    const asked = () => ask().catch((problem) => problem);
    const answer = await this.#repeated(asked, ({ remedy }) => remedy === "refresh");
    if (!(answer instanceof Error)) return answer;
    if (answer.remedy === "login") this.#over(reasonOf(answer)); // cookies of two sessions
    throw answer;
  }

  /**
   * Sends, and again after an exchange where the access token was refused. Was there one while the
   * first request was on its way, that is enough; but if not, there is a third try.
   */
  async #repeated(send, isRefused) {
    for (let tries = 1; ; tries += 1) {
      const seen = this.#exchanges;
      const answer = await send();
      if (tries === MOST_TRIES || !isRefused(answer)) return answer;
      await this.#refreshSince(seen);
    }
  }

  async #ask(method, path, body) {
    const response = await this.#send(method, path, body);
    const content = await response.json().catch(() => null);
    if (!response.ok) throw problemOf(response, content ?? {});
    if (content === null) throw unreachable(); // it was cut off
    this.#heardAt = Date.now();
    return timed(response, content.data);
  }

  async #send(method, path, body) {
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    try {
      return await fetch(new URL(path, this.#base), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "include",
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE),
      });
    } catch {
      throw unreachable();
    }
  }
}

/** Why a session is over, as the pages name it. */
function reasonOf({ code, reason }) {
  const own = {
    refresh_token_missing: "logged_out",
    refresh_token_reused: "reuse_detected",
    cookie_conflict: "cookie_conflict",
  };
  return reason || own[code] || "unknown";
}

function unreachable() {
  return new Problem({ code: "unreachable", message: "The server cannot be reached" });
}

function problemOf(response, { code, message, remedy, field, reason, requestId }) {
  return new Problem({
    code: code ?? "unexpected",
    status: response.status,
    message,
    remedy: remedy ?? "none",
    field,
    reason,
    requestId,
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}

/** With `refreshIn`, the seconds to `refreshAt`; within bounds, however wrong a clock is. */
function timed(response, data) {
  if (data.refreshAt === undefined) return data;
  const now = (Date.parse(response.headers.get("Date") ?? "") || Date.now()) / SECONDS;
  const least = 0.5 * data.expiresIn;
  const most = 0.9 * data.expiresIn;
  return { ...data, refreshIn: Math.min(Math.max(data.refreshAt - now, least), most) };
}

function pause(milliseconds) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}
