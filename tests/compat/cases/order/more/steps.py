from pipeline_flow.plugins import IExtractPlugin


class Nothing(IExtractPlugin, plugin_name="nothing"):
    async def __call__(self) -> None:
        return None
