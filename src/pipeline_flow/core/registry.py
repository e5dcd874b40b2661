"""The face of 1.0.8's registry, for plugins that build plugins."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from pipeline_flow.core import discovery, inventory, spec
from pipeline_flow.errors import ConfigError

if TYPE_CHECKING:
    from pipeline_flow.core.inventory import Catalog

__all__ = ["PluginRegistry"]

_anonymous = itertools.count(1)


class PluginRegistry:
    """Looks plugins up and builds them: inside a run the run's own, elsewhere those of the process."""

    @classmethod
    def register(cls, plugin_name: str, plugin_callable: type[Any]) -> None:
        """Declares ``plugin_callable`` under a name, as the class keyword ``plugin_name`` does."""
        inventory.declare(plugin_callable, plugin_name)

    @classmethod
    def get(cls, plugin_name: str) -> type[Any]:
        """The plugin class of this name, whatever its kind.

        Raises:
            UnknownPlugin: nothing answers to the name.
            AmbiguousPlugin: plugins of several kinds do.
        """
        found: type[Any] = _catalog().find_any(plugin_name).cls
        return found

    @classmethod
    def instantiate_plugin(cls, plugin_data: Any) -> Any:
        """Builds the plugin that ``{plugin: name, id: …, args: {…}}`` describes; the payload stays as it is.

        A plugin is given back: where a parameter's annotation asks for one, the payload in ``args`` has been built
        already.

        Raises:
            ConfigError: the payload has no ``plugin``, or nothing answers to it.
        """
        if inventory.is_plugin_class(type(plugin_data)):
            return plugin_data
        name = plugin_data.get("plugin")
        if not isinstance(name, str) or not name:
            raise ConfigError(
                "a nested plugin needs the key `plugin`", hint="write {plugin: name, args: {…}}"
            )
        catalog = _catalog()
        plugin_id = plugin_data.get("id") or plugin_data.get("plugin_id") or f"{name}_{next(_anonymous)}"
        return spec.build(catalog, catalog.find_any(name), plugin_id, plugin_data.get("args") or {})


def _catalog() -> Catalog:
    return inventory.current() or discovery.catalog()
