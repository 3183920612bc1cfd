// The design of most tutorials: both tokens are JWTs, and the user's row holds the refresh token.
// With TUNED=1 without what costs it most, and no different to those who ask.

import { createSecretKey } from "node:crypto";

import cookieParser from "cookie-parser";
import express from "express";
import jwt from "jsonwebtoken";

import { cheapHash, DAY, PASSWORD, pool, run } from "./common.mjs";

const isTuned = process.env.TUNED === "1";
const users = pool({ durable: process.argv[2] === "serve" });

const accessSecret = secret("an access token's secret, of more than 32 bytes");
const refreshSecret = secret("a refresh token's secret, of more than 32 bytes");

/** A string is tried as a PEM first, by each call of jsonwebtoken. */
function secret(text) {
  return isTuned ? createSecretKey(Buffer.from(text)) : text;
}

// ── the table ───────────────────────────────────────────────────────────────────────────────────

async function create() {
  await users.query(`
    CREATE TABLE users (
      id serial PRIMARY KEY,
      username text NOT NULL UNIQUE,
      email text NOT NULL UNIQUE,
      fullname text NOT NULL,
      password text NOT NULL,
      refresh_token text,
      created_at timestamptz NOT NULL DEFAULT now(),
      updated_at timestamptz NOT NULL DEFAULT now()
    )`);
}

const INSERT = `
  INSERT INTO users (username, email, fullname, password) VALUES ($1, $2, $3, $4) RETURNING *`;
const SAVE = "UPDATE users SET refresh_token = $2, updated_at = now() WHERE id = $1";

const byId = select("id, username, email, fullname, refresh_token", "id");
const byEmail = select("id, username, email, fullname, password", "email");
const save = statement("save", SAVE);

function select(columns, key) {
  const query = `SELECT ${isTuned ? columns : "*"} FROM users WHERE ${key} = $1`;
  const find = statement(`by ${key}`, query);
  return async (value) => (await find(value)).rows[0];
}

/** Prepared once on each connection, where it has a name. */
function statement(name, text) {
  return (...values) => users.query(isTuned ? { name, text, values } : { text, values });
}

// ── tokens ──────────────────────────────────────────────────────────────────────────────────────

async function issue(user) {
  const accessToken = jwt.sign(
    { _id: user.id, email: user.email, username: user.username, fullname: user.fullname },
    accessSecret,
    { expiresIn: DAY },
  );
  const refreshToken = jwt.sign({ _id: user.id }, refreshSecret, { expiresIn: 10 * DAY });
  await save(user.id, refreshToken);
  return { accessToken, refreshToken };
}

function verified(token, key) {
  try {
    return jwt.verify(token, key);
  } catch {
    return null;
  }
}

async function signUp(email) {
  const [username] = email.split("@");
  const values = [username, email, "A User", cheapHash(PASSWORD)];
  const { rows } = await users.query(INSERT, values);
  const { accessToken, refreshToken } = await issue(rows[0]);
  return { access: accessToken, refresh: refreshToken, name: email };
}

// ── over HTTP ───────────────────────────────────────────────────────────────────────────────────

const COOKIE = { httpOnly: true, secure: true };

async function login(request, response) {
  const user = await byEmail(request.body?.email);
  const hash = cheapHash(request.body?.password ?? "");
  if (user?.password !== hash) return refuse(response, "credentials");
  answerWith(response, await issue(user));
}

async function refresh(request, response) {
  const token = request.cookies.refreshToken || request.body?.refreshToken;
  const claims = verified(token, refreshSecret);
  const user = claims && (await byId(claims._id));
  if (!user || user.refresh_token !== token) return refuse(response, "refresh token");
  answerWith(response, await issue(user));
}

async function logout(request, response) {
  await save(request.user._id, null);
  response.clearCookie("accessToken", COOKIE).clearCookie("refreshToken", COOKIE);
  response.json({ statusCode: 200, data: {}, message: "Logged out", success: true });
}

function me(request, response) {
  response.json({ statusCode: 200, data: request.user, message: "The user", success: true });
}

function authenticated(request, response, next) {
  const bearer = request.get("Authorization")?.replace("Bearer ", "");
  request.user = verified(request.cookies.accessToken || bearer, accessSecret);
  if (request.user) next();
  else refuse(response, "access token");
}

function answerWith(response, tokens) {
  response
    .cookie("accessToken", tokens.accessToken, COOKIE)
    .cookie("refreshToken", tokens.refreshToken, COOKIE)
    .json({ statusCode: 200, data: tokens, message: "Signed in", success: true });
}

function refuse(response, what) {
  const message = `Invalid ${what}`;
  response.status(401).json({ statusCode: 401, data: null, message, success: false });
}

function listen(port) {
  const app = express();
  app.use(express.json(), cookieParser());
  app.post("/login", login);
  app.post("/refresh-token", refresh);
  app.post("/logout", authenticated, logout);
  app.get("/me", authenticated, me);
  app.listen(port, "127.0.0.1");
}

await run({ create, signUp, listen });
