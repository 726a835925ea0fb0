"""The logger provider of one process: the application's own, or one that exports nothing.

Without one, log-based events (`Logger.emit` with an event name) go nowhere, and nothing can hear
them. It knows neither jobs nor narration.
"""

from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource


def logger_provider(resource: Resource) -> LoggerProvider | None:
    """The global provider; one with `resource` is made global where there is none.

    None where the application has set one that is not the SDK's: it has no processors.
    """
    if isinstance(get_logger_provider(), ProxyLoggerProvider):
        set_logger_provider(LoggerProvider(resource, shutdown_on_exit=False))
    provider = get_logger_provider()
    return provider if isinstance(provider, LoggerProvider) else None
