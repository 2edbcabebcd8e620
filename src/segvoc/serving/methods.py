"""What addresses take: HEAD wherever GET is, OPTIONS, and 405 with all methods of the address."""

from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segvoc.serving.failures import ServiceFailure
from segvoc.serving.observation import failure_response

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""Methods that the addresses of the API may have."""


def route_at(routes: Sequence[BaseRoute], scope: Scope) -> BaseRoute | None:
    """The first of some routes at the address of a request, whatever its method; None where the address isn't theirs.

    Args:
        routes: the routes.
        scope: the request, which stays as it is.
    """
    return next((route for route in routes if route.matches({**scope})[0] is not Match.NONE), None)


def allowed_methods(routes: Sequence[BaseRoute], scope: Scope) -> tuple[str, ...]:
    """The methods that some routes take at the address of a request; none where the address isn't theirs.

    Args:
        routes: the routes.
        scope: the request, which stays as it is.
    """
    found = [method for method in METHODS if _takes(routes, scope, method)]
    if "GET" in found:
        found.insert(1, "HEAD")
    return (*found, "OPTIONS") if found else ()


def _takes(routes: Sequence[BaseRoute], scope: Scope, method: str) -> bool:
    # a route may write into what it matches
    return any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)


class Methods:
    """Answers HEAD as GET without a body, OPTIONS, and methods that an address doesn't have.

    Args:
        app: answers everything else.
        routes: the API's routes; other addresses are left to `app`.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app, self.routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or (scope["method"] in METHODS and _takes(self.routes, scope, scope["method"])):
            await self.app(scope, receive, send)
            return
        allowed = allowed_methods(self.routes, scope)
        allow = {"Allow": ", ".join(allowed)}
        if not allowed:
            await self.app(scope, receive, send)
            return
        scope["route"] = route_at(self.routes, scope)
        if scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=allow)(scope, receive, send)
        elif scope["method"] in allowed:
            await self._head(scope, receive, send)
        else:
            await failure_response(ServiceFailure.of_status(405, allow))(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_no_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # the server looks at its own scope to know that no body may follow
        await self.app({**scope, "method": "GET"}, receive, send_no_body)
