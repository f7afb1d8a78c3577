"""What machines there are and when (design §5): as recorded, for ever, renewed as fitted, or sent for on demand."""

from sim.engine.supply.model import Supply, make_supply
from sim.engine.supply.on_demand import FrontEnd, Grounds
from sim.engine.supply.stays import Stay, fixed_stays, recorded_stays

__all__ = ["FrontEnd", "Grounds", "Stay", "Supply", "fixed_stays", "make_supply", "recorded_stays"]
