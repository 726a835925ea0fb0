"""What the picture of the console shows: an order that is packed in steps, and asks twice."""

import asyncio

from opentelemetry import trace

from app import JobContext, operation
from narration import narrate

tracer = trace.get_tracer("shop")


@operation("pack_order", max_attempts=3, base_delay_s=0.8, jitter="none")
async def pack_order(order: int, *, job: JobContext) -> dict[str, int]:
    """Pack an order, piece by piece."""
    narrate("open", "Opening order {order}", order=order)
    with tracer.start_as_current_span("reserve stock", attributes={"order": order}):
        await asyncio.sleep(0.3)
        if job.attempt == 1:
            raise ConnectionError("the warehouse does not answer")
        narrate("reserve", "Three pieces are put aside")
    for piece, name in enumerate(("lamp", "kettle", "atlas"), 1):
        with tracer.start_as_current_span(f"pack {name}"):
            narrate("pack", "Packing the {name}", name=name)
            await asyncio.sleep(0.4 + 0.2 * piece)
        job.progress(piece, 3, f"{piece} of 3 pieces")
    return {"pieces": 3}
