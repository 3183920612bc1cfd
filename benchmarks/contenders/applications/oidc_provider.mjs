// oidc-provider as a token service: refresh tokens that rotate, access tokens that are JWTs, and a
// table of PostgreSQL in the shape that its documentation gives an adapter.

import Provider from "oidc-provider";

import { DAY, pool, run } from "./common.mjs";

const isServing = process.argv[2] === "serve";
const models = pool({ durable: isServing });
const port = isServing ? process.argv[3] : "80";

// ── the table ───────────────────────────────────────────────────────────────────────────────────

async function create() {
  await models.query(`
    CREATE TABLE models (
      kind text NOT NULL,
      id text NOT NULL,
      payload jsonb NOT NULL,
      grant_id text,
      uid text,
      user_code text,
      consumed bigint,
      expires_at timestamptz,
      PRIMARY KEY (kind, id)
    );
    CREATE INDEX ON models (grant_id) WHERE grant_id IS NOT NULL;
    CREATE INDEX ON models (uid) WHERE uid IS NOT NULL;
    CREATE INDEX ON models (user_code) WHERE user_code IS NOT NULL`);
}

const UPSERT = `
  INSERT INTO models (kind, id, payload, grant_id, uid, user_code, expires_at)
  VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
  ON CONFLICT (kind, id) DO UPDATE SET payload = excluded.payload, grant_id = excluded.grant_id,
    uid = excluded.uid, user_code = excluded.user_code, expires_at = excluded.expires_at`;
const CONSUME = `
  UPDATE models SET consumed = extract(epoch FROM now()) WHERE kind = $1 AND id = $2`;

class Adapter {
  constructor(kind) {
    this.kind = kind;
  }

  async upsert(id, payload, expiresIn) {
    const { grantId, uid, userCode } = payload;
    await this.#run("upsert", UPSERT, id, payload, grantId, uid, userCode, expiresIn);
  }

  find(id) {
    return this.#findBy("id", id);
  }

  findByUid(uid) {
    return this.#findBy("uid", uid);
  }

  findByUserCode(userCode) {
    return this.#findBy("user_code", userCode);
  }

  async consume(id) {
    await this.#run("consume", CONSUME, id);
  }

  async destroy(id) {
    await this.#run("destroy", "DELETE FROM models WHERE kind = $1 AND id = $2", id);
  }

  async revokeByGrantId(grantId) {
    await this.#run("revoke", "DELETE FROM models WHERE kind = $1 AND grant_id = $2", grantId);
  }

  async #findBy(key, value) {
    const text = `SELECT payload, consumed FROM models WHERE kind = $1 AND ${key} = $2`;
    const [found] = await this.#run(`by ${key}`, text, value);
    if (!found) return undefined;
    return found.consumed ? { ...found.payload, consumed: Number(found.consumed) } : found.payload;
  }

  /** Prepared once on each connection. */
  async #run(name, text, ...values) {
    return (await models.query({ name, text, values: [this.kind, ...values] })).rows;
  }
}

// ── the provider ────────────────────────────────────────────────────────────────────────────────

const RESOURCE = "https://api.example.com";
/** The same where tokens are seeded and where they are served; it protects nothing. */
const KEY = {
  kty: "EC",
  crv: "P-256",
  x: "QFtVkXLQoTJK7ri9ioUtNdol51FHiYC_A_IU673uPLg",
  y: "kP9ENHJIEiuSzs3_bNRV1wlahMrj7NZi8Ac5wUgtuUU",
  d: "Y8bCFHdzz5VVTObX3uXSOKzhYVoB9Z1PL5wdAp_kz6g",
  alg: "ES256",
  use: "sig",
  kid: "benchmark",
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  adapter: Adapter,
  clients: [
    {
      client_id: "benchmark",
      client_secret: "a secret that the client shares",
      token_endpoint_auth_method: "client_secret_post",
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: ["https://example.com/callback"],
      id_token_signed_response_alg: "ES256",
    },
  ],
  cookies: { keys: ["what signs the cookies"] },
  jwks: { keys: [KEY] },
  scopes: ["openid", "offline_access", "api"],
  rotateRefreshToken: true,
  findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: false },
    revocation: {
      enabled: true,
      allowedPolicy: async (_, client, token) => token.clientId === client.clientId,
    },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: async () => true,
      getResourceServerInfo: async () => ({
        scope: "api",
        accessTokenFormat: "jwt",
        accessTokenTTL: DAY,
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
  ttl: { AccessToken: DAY, IdToken: DAY, RefreshToken: 10 * DAY, Grant: 10 * DAY },
});

/**
 * What the end of an authorization leaves. The access token is one of another kind than those that
 * exchanges answer with: its own endpoint takes opaque ones only.
 */
async function signUp(email) {
  const client = await provider.Client.find("benchmark");
  const grant = new provider.Grant({ accountId: email, clientId: client.clientId });
  grant.addOIDCScope("openid offline_access");
  grant.addResourceScope(RESOURCE, "api");
  const common = { accountId: email, client, grantId: await grant.save(), claims: {} };
  const gty = "authorization_code";
  const refresh = { ...common, gty, scope: "offline_access api", resource: RESOURCE, rotations: 0 };
  const access = { ...common, gty, scope: "openid" };
  return {
    refresh: await new provider.RefreshToken({ ...refresh, iiat: now() }).save(),
    access: await new provider.AccessToken(access).save(),
    name: email,
  };
}

function now() {
  return Math.floor(Date.now() / 1000);
}

await run({ create, signUp, listen: () => provider.listen(Number(port), "127.0.0.1") });
