"""The papers' methods under their own names: what is proven, and whether the network met the assumptions."""

from jaxtract.methods.assumptions import Assumption
from jaxtract.methods.named import NamedMethod, daniely_granot, rolnick_koerding

__all__ = ["Assumption", "NamedMethod", "daniely_granot", "rolnick_koerding"]
