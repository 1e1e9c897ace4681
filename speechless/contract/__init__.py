"""What the library and the operator share: stage specs, results, progress, artifacts, exit codes, failure reasons."""

from speechless.contract import engines, needs, objectives, storage, suites
from speechless.contract.artifact import (
    MANIFEST_NAME,
    Artifact,
    FileEntry,
    Format,
    InputRecord,
    Manifest,
    Metric,
    tree_digest,
)
from speechless.contract.dataset import BadRows, DatasetFormat, DatasetSource
from speechless.contract.decisive import decisive
from speechless.contract.engines import ServeEngine
from speechless.contract.evaluate import EvaluateSettings, EvaluateSpec, Suite, SuiteOptions
from speechless.contract.exit_codes import RETRIABLE, ExitCode
from speechless.contract.finetune import (
    Checkpoints,
    Experts,
    FineTuneSettings,
    FineTuneSpec,
    Hyperparameters,
    LongRows,
    Lora,
    RopeScaling,
    Tokenizer,
)
from speechless.contract.methods import METHODS, Method, Qlora
from speechless.contract.model import unknown_fields
from speechless.contract.modelinfo import AdapterInfo, BaseModelInfo, ModelInfo, QuantizationInfo
from speechless.contract.objectives import Dpo, Kto, Objective, Orpo, Precision, Pretrain, Reward
from speechless.contract.progress import Progress, ProgressPhase
from speechless.contract.prompt_types import PROMPT_TYPES, PromptType
from speechless.contract.quantize import GgufType, QuantizeSettings, QuantizeSpec, Verify
from speechless.contract.reasons import FailureReason
from speechless.contract.result import TERMINATION_MESSAGE_LIMIT, Failure, Outcome, StageResult
from speechless.contract.serve import ServeSettings, ServeSpec
from speechless.contract.spec import StageSpec, parse_spec
from speechless.contract.stages import (
    STAGE_IMAGES,
    DataSource,
    FetchSpec,
    Publishing,
    RunIdentity,
    SecretReference,
    Source,
    SourceOptions,
    Stage,
    StageName,
)
from speechless.contract.suites import SuiteType

__all__ = [
    "MANIFEST_NAME",
    "METHODS",
    "PROMPT_TYPES",
    "RETRIABLE",
    "STAGE_IMAGES",
    "TERMINATION_MESSAGE_LIMIT",
    "AdapterInfo",
    "Artifact",
    "BadRows",
    "BaseModelInfo",
    "Checkpoints",
    "DataSource",
    "DatasetFormat",
    "DatasetSource",
    "Dpo",
    "EvaluateSettings",
    "EvaluateSpec",
    "ExitCode",
    "Experts",
    "Failure",
    "FailureReason",
    "FetchSpec",
    "FileEntry",
    "FineTuneSettings",
    "FineTuneSpec",
    "Format",
    "GgufType",
    "Hyperparameters",
    "InputRecord",
    "Kto",
    "LongRows",
    "Lora",
    "Manifest",
    "Method",
    "Metric",
    "ModelInfo",
    "Objective",
    "Orpo",
    "Outcome",
    "Precision",
    "Pretrain",
    "Progress",
    "ProgressPhase",
    "PromptType",
    "Publishing",
    "Qlora",
    "QuantizationInfo",
    "QuantizeSettings",
    "QuantizeSpec",
    "Reward",
    "RopeScaling",
    "RunIdentity",
    "SecretReference",
    "ServeEngine",
    "ServeSettings",
    "ServeSpec",
    "Source",
    "SourceOptions",
    "Stage",
    "StageName",
    "StageResult",
    "StageSpec",
    "Suite",
    "SuiteOptions",
    "SuiteType",
    "Tokenizer",
    "Verify",
    "decisive",
    "engines",
    "needs",
    "objectives",
    "parse_spec",
    "storage",
    "suites",
    "tree_digest",
    "unknown_fields",
]
