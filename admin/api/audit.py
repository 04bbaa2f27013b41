"""The audit trail by API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from admin.api.bodies import EntryOut, VerdictOut
from admin.api.caller import Auditor
from admin.pages.audit import as_json
from core.loop.ports import Wanted

router = APIRouter()
Text = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.get("/audit", response_model=list[EntryOut])
async def audit(
    caller: Auditor,
    *,
    actor: Text = "",
    action: Text = "",
    subject: Text = "",
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[dict[str, Any]]:
    """The newest entries first; the next page is `before` the last `seq` of this one."""
    return as_json(await caller.desk.trail.page(Wanted(actor, action, subject, before), limit))


@router.get("/audit/verdict", response_model=VerdictOut)
async def verify(caller: Auditor) -> VerdictOut:
    """Walks along the whole chain."""
    verdict = await caller.desk.trail.verify()
    broken = verdict.broken
    return VerdictOut(
        whole=broken is None,
        head=str(verdict.head),
        broken_seq=broken.seq if broken else None,
        reason=broken.reason if broken else "",
    )
