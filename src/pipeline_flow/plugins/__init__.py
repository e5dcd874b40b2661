"""The interfaces that plugins implement."""

from pipeline_flow.plugins.base import (
    AsyncAdapterMixin,
    IAtomicLoadPlugin,
    IExtractPlugin,
    ILoadPlugin,
    IMergeExtractPlugin,
    IPlugin,
    IPostProcessPlugin,
    IPreProcessPlugin,
    ISecretManager,
    ITransactionHook,
    ITransformLoadPlugin,
    ITransformPlugin,
    PluginConfig,
    Transaction,
)

__all__ = [
    "AsyncAdapterMixin",
    "IAtomicLoadPlugin",
    "IExtractPlugin",
    "ILoadPlugin",
    "IMergeExtractPlugin",
    "IPlugin",
    "IPostProcessPlugin",
    "IPreProcessPlugin",
    "ISecretManager",
    "ITransactionHook",
    "ITransformLoadPlugin",
    "ITransformPlugin",
    "PluginConfig",
    "Transaction",
]
