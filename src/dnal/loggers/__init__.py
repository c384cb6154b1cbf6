"""Telling a job to TensorBoard, MLflow, Weights & Biases, or any other logger of Lightning.

``dnal.learn(..., listener=dnal.loggers.log_to("tensorboard", "folder"))``, or with a logger of your own,
``listener=dnal.loggers.Log(CSVLogger("folder"))``.
"""

from dnal.loggers.log import Log as Log
from dnal.loggers.named import check as check
from dnal.loggers.named import log_to as log_to
from dnal.loggers.named import logs_of as logs_of
from dnal.loggers.names import NAMES as NAMES
