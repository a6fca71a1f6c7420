"""A FastAPI service: requests carry the tenant; server spans are parents of the guard's spans.

Run: uvicorn --app-dir examples fastapi_service:app, then
curl -H 'x-tenant: acme' -d '{"question": "Hello"}' -H 'content-type: application/json' \\
    http://127.0.0.1:8000/chat
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.trace import TracerProvider
from pydantic import BaseModel

from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    FlatRates,
    TokenUsage,
    call_info,
    instrument,
)
from otel_budget.guards import AsyncWindowGuard, Limit

PRICES = FlatRates(3, 15)


class Question(BaseModel):
    question: str


class TenantOfRequest:
    """ASGI middleware that sets the tenant for every guard call of a request.

    In your service, take the tenant from the verified token: a client can set any header.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        tenant = dict(scope.get("headers", [])).get(b"x-tenant")
        with call_info(tenant=tenant.decode("latin-1") if tenant else None, agent="chat"):
            await self.app(scope, receive, send)


def create_app(tracer_provider: TracerProvider | None = None) -> FastAPI:
    # One guard for all tenants: each has 0.9 cents an hour. Like the telemetry, it takes the tenant
    # of a call from call_info.
    guard = AsyncWindowGuard(Limit(0.009, window="hour"), prices=PRICES)
    gate = BudgetGate(instrument(guard, prices=PRICES))
    app = FastAPI()
    app.add_middleware(TenantOfRequest)

    @app.post("/chat")
    async def chat(question: Question, x_session: str = Header("session-1")) -> dict[str, str]:
        estimate = len(question.question) // 4
        async with gate.llm_call(
            x_session, estimate, model="claude-sonnet-5", provider="anthropic"
        ) as call:
            text, usage = await ask_model(question.question)
            call.usage(usage)
        return {"answer": text}

    @app.exception_handler(BudgetExhausted)
    async def refused(request: Request, refusal: Exception) -> JSONResponse:
        return JSONResponse({"error": str(refusal)}, status_code=429)

    FastAPIInstrumentor.instrument_app(app, tracer_provider=tracer_provider)
    return app


async def ask_model(question: str) -> tuple[str, TokenUsage]:
    """Stands in for a model's client."""
    usage = {"input_tokens": 1_000, "output_tokens": 100}
    return f"You asked: {question}", TokenUsage.from_anthropic(usage)


def __getattr__(name: str) -> Any:
    """Uvicorn's `app`: a server that asks for it sets up telemetry, a test's import does not."""
    if name == "app":
        from otel_budget.sdk import configure

        configure("fastapi-example")
        return create_app()
    raise AttributeError(name)
