"""Read a ReLU network off, exactly, from nothing but queries."""

from jaxtract.certificate.certify import Certificate, certify
from jaxtract.layers.any_depth.extract import AnyDepthOptions, extract_any_depth
from jaxtract.layers.any_network import ExtractOptions, extract_network
from jaxtract.layers.depth_two import DepthTwoOptions, extract_depth_two
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.files import load_network, save_network
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.oracle.call import CallableOracle, oracle_function
from jaxtract.oracle.oracle import Oracle, OracleError
from jaxtract.oracle.serve import ExactNetworkOracle, Float64NetworkOracle
from jaxtract.report.outcome import Extraction, Outcome
from jaxtract.targets import load_target
from precision.exact import ExactContext
from precision.rounded import float64, mp

__all__ = [
    "AnyDepthOptions",
    "CallableOracle",
    "Certificate",
    "DepthTwoOptions",
    "ExactContext",
    "ExactNetwork",
    "ExactNetworkOracle",
    "ExtractOptions",
    "Extraction",
    "Float64NetworkOracle",
    "Oracle",
    "OracleError",
    "Outcome",
    "ReLUNetwork",
    "certify",
    "extract_any_depth",
    "extract_depth_two",
    "extract_network",
    "float64",
    "load_network",
    "load_target",
    "mp",
    "oracle_function",
    "save_network",
]
