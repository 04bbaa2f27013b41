"""A small OIDC provider on loopback, which also speaks as Slack and Discord do. It lets `user` in unasked."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import Any, Self
from urllib.parse import urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from admin.provider import Kind, ProviderSettings
from core.loop.people import Role

CLIENT, SECRET = "parley-console", "a secret: 100 % of it"


class FakeProvider:
    """`claims` overwrite what the ID token says; a claim of None is left out."""

    def __init__(self) -> None:
        self.user, self.name, self.team = "42", "Ada", "T1"
        self.guilds = ["G1"]
        self.claims: dict[str, Any] = {}
        self.key = self.signing_key = RSAKey.generate_key(2048, parameters={"kid": "k1"})
        self.algorithm = "RS256"
        self.methods = ["client_secret_basic"]
        self.issuer_said = ""
        self.url = ""
        self.refused: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._runner: web.AppRunner | None = None

    def settings(self, kind: Kind = "oidc", team: str = "", role: Role | None = None) -> ProviderSettings:
        return ProviderSettings(kind, self.url, CLIENT, SECRET, "Single sign-on", team, role)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/authorize", self._authorize),
                web.get("/oauth2/authorize", self._authorize),
                web.post("/token", self._token),
                web.post("/api/oauth2/token", self._token),
                web.get("/keys", self._keys),
                web.get("/api/users/@me", self._me),
                web.get("/api/users/@me/guilds", self._guilds),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer_said or self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "token_endpoint_auth_methods_supported": self.methods,
            }
        )

    async def _authorize(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_hex(8)
        self._codes[code] = query
        back = {"code": code, "state": query["state"]}
        raise web.HTTPFound(f"{query['redirect_uri']}?{urlencode(back)}")

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        asked = self._codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        basic = base64.b64encode(f"{CLIENT}:a+secret%3A+100+%25+of+it".encode()).decode()
        posted = (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        known = (
            posted
            if "client_secret_basic" not in self.methods
            else (request.headers.get("Authorization") == f"Basic {basic}")
        )
        whole = asked and asked["redirect_uri"] == form["redirect_uri"]
        if not known or not asked or not whole or asked["code_challenge"] != challenge.decode():
            self.refused.append("token")
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": "at", "token_type": "Bearer", "id_token": self._id_token(asked)})

    def _id_token(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": self.user,
            "iat": now,
            "exp": now + 300,
            "nonce": asked.get("nonce", ""),
            "name": self.name,
            "https://slack.com/team_id": self.team,
            "https://slack.com/user_id": self.user,
            **self.claims,
        }
        header = {"alg": self.algorithm, "kid": "k1"}
        if self.algorithm == "none":
            parts = [json.dumps(part).encode() for part in (header, claims)]
            return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."
        key = OctKey.import_key(SECRET.encode()) if self.algorithm == "HS256" else self.signing_key
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(header, kept, key, algorithms=[self.algorithm])

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    async def _me(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer at"
        return web.json_response({"id": self.user, "username": "ada", "global_name": self.name})

    async def _guilds(self, request: web.Request) -> web.Response:
        return web.json_response([{"id": guild} for guild in self.guilds])
