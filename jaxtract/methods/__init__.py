"""The papers' methods under their own names: what is proven, and whether the network met the assumptions."""

from jaxtract.methods.assumptions import Assumption
from jaxtract.methods.low_loss.method import LossOptions, chen_klivans_meka
from jaxtract.methods.low_loss.result import LossOutcome, LowLoss
from jaxtract.methods.low_loss.square_loss import SquareLoss
from jaxtract.methods.milli import Milli, milli
from jaxtract.methods.named import NamedMethod, daniely_granot, rolnick_koerding

__all__ = [
    "Assumption",
    "LossOptions",
    "LossOutcome",
    "LowLoss",
    "Milli",
    "NamedMethod",
    "SquareLoss",
    "chen_klivans_meka",
    "daniely_granot",
    "milli",
    "rolnick_koerding",
]
