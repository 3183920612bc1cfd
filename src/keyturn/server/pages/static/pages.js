/** What the pages do. Whoever is signed in, the browser client keeps so; forms are sent as JSON. */

import { Keyturn, Problem } from "./keyturn.js";

const { page, next, base, expiresIn, refreshIn, resume } = document.body.dataset;
const texts = JSON.parse(document.body.dataset.texts);
const keyturn = new Keyturn({ base });
const SECONDS = 1000;
const LONGEST_PAUSE = 30;

const url = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value);
  const asked = new URLSearchParams(given).toString();
  return base + path + (asked && `?${asked}`);
};
const find = (selector, within = document) => within.querySelector(selector);
const findAll = (selector, within = document) => within.querySelectorAll(selector);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** Seconds to wait before try number `tries` + 1. */
function backOff(tries, retryAfter = 0) {
  return Math.min(Math.max(2 ** tries, retryAfter), LONGEST_PAUSE);
}

function goOn(notice = "") {
  location.replace(next || url("account", { notice }));
}

function leave(reason) {
  const here = ["logout", "delete-account"].includes(page) ? "" : location.pathname;
  location.replace(url("signed-out", { reason, next: next ?? here }));
}

// ── what is said ────────────────────────────────────────────────────────────────────────────────

function say(element, text = "") {
  element.textContent = text;
  element.hidden = !text;
}

/** A refusal in words: ours where there are any, else the server's. What is `once` done is not
 * tried again by itself. */
function wordsFor(problem, { once = false } = {}) {
  const when = once ? "_once" : "";
  if (problem.status === 0) return texts[`unreachable${when}`];
  if (problem.passes) return texts[`unavailable${when}`];
  if (problem.code === "too_many_attempts") {
    return fill(texts.too_many_attempts, { wait: duration(problem.retryAfter) });
  }
  return ownWords(problem) ?? fill(texts.failed, { detail: problem.message });
}

function ownWords({ code }) {
  return texts[`${code}@${page}`] ?? texts[code];
}

function duration(seconds) {
  if (seconds <= 90) return fill(texts.seconds, { count: seconds });
  return fill(texts.minutes, { count: Math.ceil(seconds / 60) });
}

/** The server says "username must have …"; beside the field its name need not be said. */
function wordsBeside({ field, message }) {
  const name = `${field} `;
  const rest = message.startsWith(name) ? message.slice(name.length) : message;
  return `${rest[0].toUpperCase()}${rest.slice(1)}.`;
}

// ── forms ───────────────────────────────────────────────────────────────────────────────────────

/** A link to set a password has its token behind the #: neither servers nor their logs see it. */
const linkedToken = new URLSearchParams(location.hash.slice(1)).get("token");
/** Nor does the address show it for long; a page that is loaded again has it all the same. */
const resetToken = linkedToken ?? history.state?.resetToken ?? "";

const FIELD_OF = {
  current_password_wrong: "currentPassword",
  identifier_taken: page === "edit-profile" ? "email" : "",
  password_refused: page === "register" ? "password" : "newPassword",
};

/** What each form asks for. After a lost answer (`triedBefore`) it may have been done already. */
const ACTIONS = {
  async login(values) {
    await keyturn.login(credentials(values));
    goOn();
  },
  async register(values, triedBefore) {
    let taken = null;
    await keyturn.register(values).catch((problem) => {
      if (!triedBefore || problem.code !== "identifier_taken") throw problem;
      taken = problem;
    });
    const { username, password } = values;
    await keyturn.login({ username, password }).catch((problem) => {
      throw taken && problem.code === "invalid_credentials" ? taken : problem;
    });
    goOn("registered");
  },
  async "change-password"({ currentPassword, newPassword }) {
    await keyturn.changePassword(currentPassword, newPassword);
    location.replace(url("account", { notice: "password_changed" }));
  },
  async "edit-profile"({ email, fullname, currentPassword }) {
    const change = {};
    if (isChanged("fullname")) change.fullname = fullname;
    if (isChanged("email")) Object.assign(change, { email, currentPassword });
    const notice = Object.keys(change).length > 0 ? "profile_changed" : "";
    if (notice) await keyturn.changeProfile(change);
    location.replace(url("account", { notice }));
  },
  async "delete-account"({ currentPassword }) {
    await keyturn.deleteAccount(currentPassword);
  },
  async "reset-password"({ newPassword }, triedBefore) {
    await keyturn.resetPassword(resetToken, newPassword).catch((problem) => {
      if (triedBefore && problem.code === "reset_token_invalid") problem.code = "reset_perhaps";
      throw problem;
    });
    location.replace(url("signed-out", { reason: "password_reset" }));
  },
  async logout() {
    await keyturn.logout();
  },
};

function isChanged(name) {
  const field = find(`[name=${name}]`);
  return field.value !== field.defaultValue;
}

/** Whoever changes the email alone is asked for the password. */
function askForPassword() {
  const password = find("[name=currentPassword]");
  find("[name=email]").addEventListener("input", () => {
    password.required = isChanged("email");
  });
}

function credentials({ identifier, password, remember }) {
  const name = identifier.trim();
  const kind = name.includes("@") ? "email" : "username";
  return { [kind]: name, password, remember: remember === "on" };
}

function enliven(form) {
  const action = ACTIONS[form.dataset.form];
  const trouble = find("[data-trouble]", form);
  const button = find("button.primary", form);
  const label = button.textContent;
  let tries = 0;
  let timer = 0;
  let busy = false;

  async function submit() {
    clearTimeout(timer);
    if (busy) return;
    clearErrors(form);
    if (!isComplete(form)) return;
    busy = true;
    say(button, button.dataset.busy);
    button.setAttribute("aria-disabled", "true");
    try {
      await action(Object.fromEntries(new FormData(form)), tries > 0);
    } catch (problem) {
      show(problem);
    } finally {
      busy = false;
      button.removeAttribute("aria-disabled");
    }
  }

  function show(problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.remedy === "login") return; // the page is being left
    say(button, problem.passes ? texts.retry_now : label);
    const field = form.elements[problem.field || FIELD_OF[problem.code]];
    if (field) {
      sayBeside(field, ownWords(problem) ?? wordsBeside(problem));
      field.focus();
      return;
    }
    say(trouble, wordsFor(problem));
    trouble.classList.toggle("patient", problem.passes);
    if (problem.passes) {
      timer = setTimeout(submit, backOff(tries, problem.retryAfter) * SECONDS);
      tries += 1;
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  form.addEventListener("input", ({ target }) => {
    sayBeside(target);
    if (busy) return;
    clearTimeout(timer); // whoever types on says when it is to be sent
    say(trouble);
    say(button, label);
  });
  button.disabled = false;
}

function isComplete(form) {
  const empty = [...form.elements].filter((field) => field.required && !field.value);
  for (const field of empty) sayBeside(field, texts.missing);
  empty[0]?.focus();
  return empty.length === 0;
}

function sayBeside(field, text = "") {
  const place = document.getElementById(`${field.id}-error`);
  if (!place) return;
  say(place, text);
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

function clearErrors(form) {
  say(find("[data-trouble]", form));
  for (const field of form.elements) sayBeside(field);
}

function letReveal(button) {
  const field = document.getElementById(button.dataset.reveals);
  const word = find("span", button);
  const { show, hide } = button.dataset;
  button.disabled = false;
  button.addEventListener("click", () => {
    const isShown = field.type === "text";
    field.type = isShown ? "password" : "text";
    word.textContent = isShown ? show : hide;
    field.focus();
  });
}

// ── the account ─────────────────────────────────────────────────────────────────────────────────

/** Does what `button` is for, and says `text`; or beside it what was in the way. */
async function attempt(button, action, text) {
  const card = button.closest(".card");
  const trouble = find("[data-trouble]", card);
  say(trouble);
  button.disabled = true;
  try {
    await action();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    button.disabled = false;
    if (problem.remedy !== "login") say(trouble, wordsFor(problem, { once: true }));
    return;
  }
  say(find("[data-said]", card) ?? find("[data-said]"), text);
}

function enlivenDevices() {
  const list = find("[data-devices]");
  const dialog = find("[data-dialog]");
  const others = find("[data-action=ask-end-others]");

  function lookAgain() {
    if (findAll("[data-sid]", list).length === 0) {
      others.hidden = true;
      find("[data-alone]").hidden = false;
    }
    document.getElementById("devices").focus();
  }

  list.addEventListener("click", ({ target }) => {
    if (target.dataset.action !== "end") return;
    const row = target.closest("li");
    const end = async () => {
      await endOne(row.dataset.sid);
      row.remove();
      lookAgain();
    };
    attempt(target, end, row.dataset.ended);
  });
  others.addEventListener("click", () => dialog.showModal());
  find("[data-action=end-others]").addEventListener("click", () => {
    dialog.close();
    const end = async () => {
      await keyturn.endOtherSessions();
      for (const row of findAll("[data-sid]", list)) row.remove();
      lookAgain();
    };
    attempt(others, end, dialog.dataset.done);
  });
}

function enlivenExport() {
  const button = find("[data-action=export]");
  const download = async () => {
    keep(button.dataset.file, await keyturn.exportData());
    button.disabled = false;
  };
  button.addEventListener("click", () => attempt(button, download, button.dataset.done));
}

/** Has the browser put `content` among its downloads. */
function keep(name, content) {
  const file = new Blob([JSON.stringify(content, null, 2)], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), SECONDS);
}

/** One that has ended meanwhile is as good as ended. */
async function endOne(sid) {
  try {
    await keyturn.endSession(sid);
  } catch (problem) {
    if (problem.code !== "session_unknown") throw problem;
  }
}

const IN_WORDS = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

function localise(time) {
  time.textContent = IN_WORDS.format(new Date(time.dateTime));
}

// ── coming and going ────────────────────────────────────────────────────────────────────────────

/** Whoever may be signed in still, though the server could not tell, is led on if so. */
async function resumeSession() {
  const waiting = find("[data-resuming]");
  waiting.hidden = false;
  for (let tries = 0; ; tries += 1) {
    try {
      await keyturn.refresh();
      goOn();
      return;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      waiting.hidden = true;
      delete document.body.dataset.resume;
      if (!problem.passes) break;
      await new Promise((resolve) => {
        setTimeout(resolve, backOff(tries, problem.retryAfter) * SECONDS);
      });
    }
  }
  if (document.activeElement === document.body) find("input").focus(); // else somebody types
}

/** The page that says that we are in trouble looks again, later each time. */
function retryPage() {
  setTimeout(() => location.reload(), backOff(countTry()) * SECONDS);
}

/** Where nothing may be stored, each is like the third. */
function countTry() {
  try {
    const tries = Number(sessionStorage.getItem("keyturn tries") ?? 0) + 1;
    sessionStorage.setItem("keyturn tries", String(tries));
    return tries;
  } catch {
    return 3;
  }
}

function forgetTries() {
  try {
    sessionStorage.removeItem("keyturn tries");
  } catch {
    // there are none
  }
}

/** A page that comes back out of the browser's memory may show what is over. */
window.addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  document.body.hidden = true;
  location.reload();
});

if (page !== "unavailable") forgetTries();

if (expiresIn !== undefined) {
  keyturn.addEventListener("signedout", ({ detail }) => leave(detail.reason));
  keyturn.addEventListener("signedin", () => location.reload());
  keyturn.keepFresh({
    expiresIn: Number(expiresIn),
    refreshIn: refreshIn === undefined ? undefined : Number(refreshIn),
  });
} else if (next !== undefined) {
  keyturn.addEventListener("signedin", () => goOn());
}

findAll("[data-form]").forEach(enliven);
findAll("[data-reveals]").forEach(letReveal);
findAll("time").forEach(localise);
if (page === "account") {
  enlivenDevices();
  enlivenExport();
  for (const button of findAll("[data-action]")) button.disabled = false;
}
if (page === "edit-profile") askForPassword();
if (page === "unavailable") retryPage();
if (resume !== undefined) resumeSession();

const address = new URL(location.href);
const spent = ["notice", "keyturn-late"].filter((name) => address.searchParams.has(name));
for (const name of spent) address.searchParams.delete(name);
if (linkedToken !== null) address.hash = "";
if (spent.length > 0 || linkedToken !== null) {
  history.replaceState(resetToken ? { resetToken } : null, "", address);
}
