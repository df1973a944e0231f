// A certified OpenID provider (npm's oidc-provider) on this machine: its own keys, sessions and tokens, and a form that
// asks for a password. Argument: JSON {modules, port, people: {sub: {password, claims}}, redirects, seconds}.

import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const { modules, port, people, redirects, seconds } = JSON.parse(process.argv[2]);
const { Provider, interactionPolicy } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`).href);

const policy = interactionPolicy.base();
policy.get("consent").checks.remove("native_client_prompt"); // the operator has agreed for everybody

const provider = new Provider(`http://localhost:${port}`, {
  clients: [{
    client_id: "kthink",
    client_secret: "s3cret",
    application_type: "native", // of a redirect to this machine any port will do
    redirect_uris: redirects,
    grant_types: ["authorization_code"],
  }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["groups"] },
  conformIdTokenClaims: false, // they are in the ID token, which is all that an app without a session of its own reads
  cookies: { keys: ["a key of the tests"] },
  features: { devInteractions: { enabled: false } },
  findAccount: (_, sub) => people[sub] && { accountId: sub, claims: () => ({ sub, ...people[sub].claims }) },
  interactions: { policy, url: (_, interaction) => `/interaction/${interaction.uid}` },
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope("openid email profile");
    await grant.save();
    return grant;
  },
  pkce: { required: () => false },
  ttl: { IdToken: seconds, AccessToken: seconds, Interaction: 600, Session: 600, Grant: 600 },
});

const answer = provider.callback();

createServer(async (request, response) => {
  if (!request.url.startsWith("/interaction/")) return answer(request, response);
  if (request.method !== "POST") {
    response.setHeader("content-type", "text/html");
    return response.end('<form method="post"><input name="sub"><input name="password" type="password"></form>');
  }
  const parts = [];
  for await (const part of request) parts.push(part);
  const form = new URLSearchParams(Buffer.concat(parts).toString());
  const sub = form.get("sub");
  if (people[sub]?.password !== form.get("password")) {
    response.statusCode = 401;
    return response.end("no such name and password");
  }
  return provider.interactionFinished(request, response, { login: { accountId: sub } });
}).listen(port, "localhost");
