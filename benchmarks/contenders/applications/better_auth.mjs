// better-auth with email and password. A session is renewed when it is UPDATE_AGE seconds old.

import { createServer } from "node:http";

import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";

import { cheapHash, DAY, PASSWORD, pool, run } from "./common.mjs";

const isServing = process.argv[2] === "serve";
const port = isServing ? Number(process.argv[3]) : 80;

const auth = betterAuth({
  baseURL: `http://127.0.0.1:${port}`,
  secret: "what signs the cookies, of more than 32 bytes",
  database: pool({ durable: isServing }),
  advanced: { database: { joins: true } }, // a session and its user in one query; else two
  session: { expiresIn: 7 * DAY, updateAge: Number(process.env.UPDATE_AGE) },
  emailAndPassword: {
    enabled: true,
    password: {
      hash: async (password) => cheapHash(password),
      verify: async ({ hash, password }) => hash === cheapHash(password),
    },
  },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  logger: { level: "error" },
});

async function create() {
  const { runMigrations } = await getMigrations(auth.options);
  await runMigrations();
}

/** The cookie is the only token: it is presented for whatever is asked. */
async function signUp(email) {
  const body = { email, password: PASSWORD, name: "A User" };
  const { headers } = await auth.api.signUpEmail({ body, returnHeaders: true });
  const [, token] = headers.get("Set-Cookie").match(/session_token=([^;]+)/);
  return { refresh: token, access: token, name: email };
}

function listen() {
  createServer(toNodeHandler(auth)).listen(port, "127.0.0.1");
}

await run({ create, signUp, listen });
