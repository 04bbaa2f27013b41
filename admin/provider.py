"""Signing in through somebody else: any OIDC provider by its discovery document, Slack by team, Discord by OAuth2.

Authlib checks the claims of an ID token and builds the addresses; requests go out here, with a time limit and without
redirects. The issuer comes from the settings only.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote_plus, urlsplit

import aiohttp
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from admin.door import is_local
from admin.errors import ProviderFailed
from core.loop.people import Identity, Role

Kind = Literal["oidc", "slack", "discord"]
# Signed by the provider's own key: with `none` or the shared secret of an HS256 anybody could sign.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
_LEEWAY_S = 60
_MAX_BYTES = 1_000_000
_TIMEOUT = aiohttp.ClientTimeout(total=10.0)
_OTHER_TEAM = "Your login belongs to another team. Please sign in with the one that this console is for."


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """`team` is Slack's team or Discord's server; `role` is given to whoever comes first time, None for nobody."""

    kind: Kind
    issuer: str
    client_id: str
    client_secret: str
    label: str
    team: str = ""
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """What the browser keeps while it is away at the provider: it comes back with the same `state`."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Flow:
        """A flow that nobody can guess."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))


@dataclass(frozen=True, slots=True)
class _Endpoints:
    authorize: str
    token: str
    keys: str
    posts_secret: bool


class Provider:
    """One provider. Its methods raise ProviderFailed."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings

    async def address(self, flow: Flow, redirect_uri: str) -> str:
        """Where to send the browser."""
        async with _client() as client:
            endpoints = await self._endpoints(client)
        extra = {"nonce": flow.nonce} if self.settings.kind != "discord" else {}
        if self.settings.kind == "slack":
            extra["team"] = self.settings.team  # Slack then offers this team alone
        return str(
            prepare_grant_uri(
                endpoints.authorize,
                client_id=self.settings.client_id,
                response_type="code",
                redirect_uri=redirect_uri,
                scope=self._scope(),
                state=flow.state,
                code_challenge=create_s256_code_challenge(flow.verifier),
                code_challenge_method="S256",
                **extra,
            )
        )

    async def identity(self, flow: Flow, redirect_uri: str, code: str) -> Identity:
        """Who came back with `code`."""
        async with _client() as client:
            endpoints = await self._endpoints(client)
            tokens = await self._tokens(client, endpoints, flow, redirect_uri, code)
            if self.settings.kind == "discord":
                return await self._discord(client, str(tokens.get("access_token", "")))
            keys = await _json(client, "GET", endpoints.keys)
        claims = _claims(str(tokens.get("id_token", "")), keys, self.settings, flow.nonce)
        return self._slack(claims) if self.settings.kind == "slack" else _plain(claims)

    def _scope(self) -> str:
        if self.settings.kind == "discord":
            return "identify guilds" if self.settings.team else "identify"
        return "openid profile"

    async def _endpoints(self, client: aiohttp.ClientSession) -> _Endpoints:
        root = self.settings.issuer.rstrip("/")
        if self.settings.kind == "discord":
            return _Endpoints(f"{root}/oauth2/authorize", f"{root}/api/oauth2/token", "", posts_secret=False)
        found = await _json(client, "GET", f"{root}/.well-known/openid-configuration")
        if str(found.get("issuer", "")).rstrip("/") != root:
            raise ProviderFailed(f"the discovery document is that of {found.get('issuer')!r}")
        addresses = [str(found.get(name, "")) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        for address in addresses:
            _check_address(address)
        methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        authorize, token, keys = addresses
        return _Endpoints(authorize, token, keys, posts_secret="client_secret_basic" not in methods)

    async def _tokens(
        self, client: aiohttp.ClientSession, endpoints: _Endpoints, flow: Flow, redirect_uri: str, code: str
    ) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": flow.verifier,
        }
        headers = {"Accept": "application/json"}
        if endpoints.posts_secret:
            form |= {"client_id": self.settings.client_id, "client_secret": self.settings.client_secret}
        else:
            headers["Authorization"] = _basic(self.settings.client_id, self.settings.client_secret)
        return await _json(client, "POST", endpoints.token, data=form, headers=headers)

    async def _discord(self, client: aiohttp.ClientSession, access_token: str) -> Identity:
        root, headers = self.settings.issuer.rstrip("/"), {"Authorization": f"Bearer {access_token}"}
        user = await _json(client, "GET", f"{root}/api/users/@me", headers=headers)
        if self.settings.team:
            guilds = await _json(client, "GET", f"{root}/api/users/@me/guilds", headers=headers)
            if self.settings.team not in [str(guild.get("id")) for guild in guilds.get("list", [])]:
                raise ProviderFailed("not a member of the server", _OTHER_TEAM)
        if not user.get("id"):
            raise ProviderFailed("the user has no id")
        return Identity(self.settings.issuer, str(user["id"]), str(user.get("global_name") or user.get("username", "")))

    def _slack(self, claims: Mapping[str, Any]) -> Identity:
        # Not `sub`: a user id is unique within its team only.
        team, user = claims.get("https://slack.com/team_id"), claims.get("https://slack.com/user_id")
        if not user or team != self.settings.team:
            raise ProviderFailed(f"team {team!r} is not {self.settings.team!r}", _OTHER_TEAM)
        return Identity(str(claims["iss"]), f"{team}:{user}", str(claims.get("name", "")))


def _basic(client_id: str, client_secret: str) -> str:
    """The header of RFC 6749, 2.3.1: both are encoded as in a form first."""
    return "Basic " + base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(client_secret)}".encode()).decode()


def _claims(id_token: str, keys: Mapping[str, Any], settings: ProviderSettings, nonce: str) -> Mapping[str, Any]:
    """The claims of `id_token`, once its signature and all that they promise has been checked."""
    try:
        token = jwt.decode(id_token, KeySet.import_key_set({"keys": list(keys.get("keys", []))}), algorithms=ALGORITHMS)
        options = {
            "iss": {"essential": True, "values": [settings.issuer.rstrip("/"), settings.issuer.rstrip("/") + "/"]},
            "aud": {"essential": True, "value": settings.client_id},
        }
        params = {"nonce": nonce, "client_id": settings.client_id}
        claims = CodeIDToken(token.claims, token.header, options, params)
        claims.validate(leeway=_LEEWAY_S)
    except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError) as error:
        raise ProviderFailed(f"the ID token is not good: {type(error).__name__} {error}") from error
    return dict(claims)


def _plain(claims: Mapping[str, Any]) -> Identity:
    name = claims.get("name") or claims.get("preferred_username") or ""
    return Identity(str(claims["iss"]), str(claims["sub"]), str(name))


def _check_address(address: str) -> None:
    split = urlsplit(address)
    if split.scheme != "https" and not (split.scheme == "http" and is_local(split.hostname or "")):
        raise ProviderFailed(f"the discovery document names {address!r}, which is not https")


@asynccontextmanager
async def _client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as client:
        try:
            yield client
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ProviderFailed(f"{type(error).__name__}: {error}") from error


async def _json(client: aiohttp.ClientSession, method: str, url: str, **how: Any) -> Mapping[str, Any]:
    """The JSON at `url`; a list is put under "list"."""
    async with client.request(method, url, allow_redirects=False, **how) as response:
        if response.status != 200:
            raise ProviderFailed(f"{urlsplit(url).path} answered {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > _MAX_BYTES:
                raise ProviderFailed(f"{urlsplit(url).path} answered with far too much")
    found = json.loads(body)
    return found if isinstance(found, dict) else {"list": found}
