"""Every flag of `tensorflow_model_server`, and what becomes of it here.

A command line that works there works here: a flag is a setting of the same name, another name of one of Signpost's, or
not needed and accepted with a warning. What would leave a service less safe than was asked for is refused.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class TfServingFlag:
    """One flag.

    Attributes:
        name: without the hyphens.
        setting: the field of `Settings` that it sets; empty if it sets none.
        says: what happens here; for one that sets nothing, why it is not needed.
        boolean: whether it may stand without a value.
        refused: whether it is an error rather than a warning, unless its value is false.
    """

    name: str
    setting: str = ""
    says: str = ""
    boolean: bool = False
    refused: bool = False


def _same(name: str, says: str = "the same") -> TfServingFlag:
    return TfServingFlag(name, name, says)


FLAGS: Final = (
    _same("port", "the same; 0 picks a free port, there 0 turns gRPC off"),
    _same("grpc_socket_path"),
    _same(
        "rest_api_port", "the same; the default is 8501, and 0 picks a free port; there 0, the default, turns HTTP off"
    ),
    TfServingFlag("rest_api_num_threads", "threads", "another name for `--threads`"),
    _same("rest_api_timeout_in_ms"),
    _same("rest_api_enable_cors_support"),
    _same("enable_batching", "the same; the default, `auto`, joins only requests with rows shown to be independent"),
    TfServingFlag(
        "allow_version_labels_for_unavailable_models",
        says="a label may name any version here; a label that moves keeps its old version until the new one is loaded",
        boolean=True,
    ),
    _same("batching_parameters_file", "the same; without it the store's `batching.config`, if there is one"),
    TfServingFlag(
        "enable_per_model_batching_parameters", says="all models are batched by the same parameters", boolean=True
    ),
    _same("model_config_file", "the same; without it the store's `models.config`, if there is one"),
    _same("model_config_file_poll_wait_seconds", "the same; the default is 1 second, there 0"),
    _same("model_name"),
    _same(
        "model_base_path",
        "the same, `s3://`, `gs://` and `az://` too; without it and a configuration every model of `--store` is served",
    ),
    TfServingFlag("num_load_threads", says="startup loads on all cores; later versions are loaded one after the other"),
    TfServingFlag("num_unload_threads", says="versions are unloaded one after the other, without delaying requests"),
    TfServingFlag("max_num_load_retries", says="a version that failed is loaded again when its files change"),
    TfServingFlag("load_retry_interval_micros", says="a version that failed is loaded again when its files change"),
    _same("file_system_poll_wait_seconds", "the same, at least 0.05; there 0 checks the store only once"),
    TfServingFlag("flush_filesystem_caches", says="the kernel's cache is left alone", boolean=True),
    TfServingFlag("tensorflow_session_parallelism", "tensorflow_threads", "another name for `--tensorflow-threads`"),
    TfServingFlag("tensorflow_session_config_file", says="use the flags for threads, memory and precision instead"),
    _same("tensorflow_intra_op_parallelism"),
    _same("tensorflow_inter_op_parallelism"),
    TfServingFlag("use_alts_credentials", says="Signpost has no ALTS credentials", boolean=True, refused=True),
    _same("ssl_config_file", "the same: TLS for gRPC"),
    TfServingFlag("platform_config_file", says="use the flags for batching, threads and memory instead"),
    _same("per_process_gpu_memory_fraction"),
    _same("saved_model_tags"),
    _same("grpc_channel_arguments"),
    _same("grpc_max_threads", "the same; the default is `--threads`"),
    _same("enable_model_warmup", "the same; an image classifier is always warmed up, on GPUs at every batch size"),
    _same("num_request_iterations_for_warmup"),
    TfServingFlag("version", "version", "the same, and `signpost --version`"),
    _same("monitoring_config_file"),
    TfServingFlag(
        "remove_unused_fields_from_bundle_metagraph", says="the graph is not kept after loading", boolean=True
    ),
    TfServingFlag("prefer_tflite_model", says="only SavedModels are served", boolean=True),
    TfServingFlag("num_tflite_pools", says="only SavedModels are served"),
    TfServingFlag("num_tflite_interpreters_per_pool", says="only SavedModels are served"),
    TfServingFlag(
        "enable_signature_method_name_check",
        says="inputs and outputs determine what a signature is for, as there by default",
        boolean=True,
    ),
    TfServingFlag("xla_cpu_compilation_enabled", says="XLA is used where a model was exported with it", boolean=True),
    TfServingFlag("xla_gpu_compilation_enabled", says="XLA is used where a model was exported with it", boolean=True),
    TfServingFlag(
        "enable_profiler", says="the Server-Timing header and the metrics show where time goes", boolean=True
    ),
    TfServingFlag("thread_pool_factory_config_file", says="TensorFlow's own thread pools are used"),
    _same("mixed_precision", "the same: `bfloat16`"),
    TfServingFlag("skip_initialize_tpu", says="TPUs are not used", boolean=True),
    TfServingFlag("enable_grpc_healthcheck_service", says="the health service always answers", boolean=True),
    _same("enable_serialization_as_tensor_content"),
)
