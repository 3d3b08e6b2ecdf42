"""Every definition the referee has, by torch.nn's name: importing this module fills the dictionary."""

from oracle.referee import activations, classification, features, metric, regression
from oracle.referee.registry import DEFINITIONS, Definition, definition

__all__ = ["DEFINITIONS", "Definition", "activations", "classification", "definition", "features", "metric", "regression"]
