"""The application's functions: what they take, how they are called, where they are kept.

Two registries never meet: lifecycle names are routed when a listener is registered, client events are looked up among
client events only, so that no client can run a lifecycle listener by sending its name.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Collection
from typing import Any, Final

from sio_core.api.generics import Function
from sio_core.api.payloads import Converter, InvalidPayload, make_converter
from sio_core.socketio.values import key_text

__all__ = [
    "CATCH_ALL",
    "LIFECYCLE",
    "NO_LIFECYCLE",
    "SOCKET_LIFECYCLE",
    "Ack",
    "Handler",
    "Handlers",
    "key_of",
]

LIFECYCLE: Final = frozenset(("connection", "disconnecting", "disconnect", "error", "new_namespace"))
SOCKET_LIFECYCLE: Final = frozenset(("disconnecting", "disconnect", "error"))
NO_LIFECYCLE: Final[frozenset[str]] = frozenset()
ALIASES: Final = {"connect": "connection"}
CATCH_ALL: Final = "*"
UNLIMITED: Final = sys.maxsize


class Ack:
    """Answers an event; a listener that annotates a parameter with this class gets one and takes over answering.

    :ivar wanted: whether the client asked for an answer. If not, calls are ignored.
    """

    __slots__ = ("_send", "wanted")

    def __init__(self, send: Callable[[list[Any]], None] | None) -> None:
        self._send = send
        self.wanted = send is not None

    def __call__(self, *args: Any) -> None:
        """Send the answer. Only the first call does."""
        send, self._send = self._send, None
        if send is not None:
            send(list(args))


class Handler:
    """One listener, with what is known of its signature.

    :ivar exact: how many arguments it can be called with without looking further; -1 if it must be looked at.
    :ivar takes_ack: whether it answers by itself.
    """

    __slots__ = (
        "_ack_index",
        "_converters",
        "_maximum",
        "_minimum",
        "_names",
        "_rest",
        "asynchronous",
        "exact",
        "function",
        "once",
        "ordered",
        "takes_ack",
        "thread",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        leading: int,
        once: bool = False,
        ordered: bool = False,
        thread: bool = False,
    ) -> None:
        """:param leading: how many arguments come before those of the event (the socket)."""
        self.function = function
        self.once = once
        self.ordered = ordered
        self.thread = thread
        self.asynchronous = thread or is_async(function)
        if thread and is_async(function):
            raise TypeError(f"{function!r} is async: it cannot run in a thread")
        parameters = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL}
        ]
        hints = annotations_of(function, [p.name for p in parameters[leading:]])
        self._maximum = len(parameters)
        self._minimum = 0
        self._ack_index = -1
        self._names: list[str] = []
        self._converters: list[tuple[int, Converter]] = []
        self._rest: Converter | None = None
        for index, parameter in enumerate(parameters):
            annotation = hints.get(parameter.name, Any)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._maximum = UNLIMITED
                self._names.append(parameter.name)
                if index >= leading:
                    self._rest = make_converter(annotation)
                break
            self._names.append(parameter.name)
            if parameter.default is parameter.empty:
                self._minimum = index + 1
            if index < leading:
                continue
            if annotation is Ack:
                self._ack_index = index
                continue
            converter = make_converter(annotation)
            if converter is not None:
                self._converters.append((index, converter))
        self.takes_ack = self._ack_index >= 0
        simple = self._minimum == self._maximum and not self._converters and not self.takes_ack
        self.exact = self._maximum if simple else -1

    def fit(self, event: str, args: list[Any], ack: Ack | None) -> list[Any]:
        """Return the arguments the function is called with, as in JavaScript: missing ones ``None``, others dropped.

        :param args: all arguments, the leading ones included.
        :raises InvalidPayload: if one does not fit its annotation.
        """
        if self._ack_index >= 0:
            while len(args) < self._ack_index:
                args.append(None)
            args.insert(self._ack_index, ack)
        if len(args) > self._maximum:
            del args[self._maximum :]
        while len(args) < self._minimum:
            args.append(None)
        for index, converter in self._converters:
            if index >= len(args):
                break
            self._convert(event, args, index, converter, self._names[index])
        rest = self._rest
        if rest is not None:
            first = len(self._names) - 1
            for index in range(first, len(args)):
                self._convert(event, args, index, rest, f"{self._names[first]}[{index - first}]")
        return args

    def _convert(self, event: str, args: list[Any], index: int, converter: Converter, name: str) -> None:
        try:
            args[index] = converter(args[index])
        except ValueError as error:  # both msgspec's and pydantic's are
            raise InvalidPayload(event, name, str(error)) from error


class Handlers:
    """The listeners of one emitter.

    :ivar events: by client event.
    :ivar others: those of ``*``, for the events that nobody else listens to.
    :ivar lifecycle: by lifecycle name.
    :ivar incoming: called for every event that comes.
    :ivar outgoing: called for every event that goes.
    """

    __slots__ = ("_leading", "_lifecycle_names", "events", "incoming", "lifecycle", "others", "outgoing")

    def __init__(self, leading: int, lifecycle_names: frozenset[str] = LIFECYCLE) -> None:
        """:param leading: how many arguments come before those of an event (the socket)."""
        self._leading = leading
        self._lifecycle_names = lifecycle_names
        self.events: dict[str, list[Handler]] = {}
        self.others: dict[str, list[Handler]] = {}
        self.lifecycle: dict[str, list[Handler]] = {}
        self.incoming: list[Callable[..., Any]] = []
        self.outgoing: list[Callable[..., Any]] = []

    def add(
        self,
        name: object,
        function: Callable[..., Any] | None,
        *,
        once: bool = False,
        ordered: bool = False,
        thread: bool = False,
    ) -> Any:
        """Register a listener, as a call or as a decorator."""
        if function is None:

            def decorate(function: Function) -> Function:
                self.add(name, function, once=once, ordered=ordered, thread=thread)
                return function

            return decorate
        if not isinstance(name, str | int | float) or not callable(function):
            raise TypeError(f"on(name, function) takes the name of an event, not {name!r}, and a function")
        key = key_of(name)
        # What a client sends is converted to the annotations; what the server itself reports comes as it is.
        leading = UNLIMITED if key in self._lifecycle_names else self._leading
        handler = Handler(function, leading=leading, once=once, ordered=ordered, thread=thread)
        for table in self._tables(key):
            table.setdefault(key, []).append(handler)
        return function

    def _tables(self, key: str) -> list[dict[str, list[Handler]]]:
        """Where the listeners of a name are: one place, but for ``error`` of a socket, which clients may send too."""
        if key == CATCH_ALL:
            return [self.others]
        if key not in self._lifecycle_names:
            return [self.events]
        if key == "error" and not self._leading:
            return [self.lifecycle, self.events]
        return [self.lifecycle]

    def remove(self, name: str | float | None, function: Callable[..., Any] | None) -> None:
        """Forget one listener, all of one name, or all."""
        if name is None:
            for table in (self.events, self.others, self.lifecycle):
                table.clear()
            return
        key = key_of(name)
        for table in self._tables(key):
            keep(
                table, key, [h for h in table.get(key, ()) if function is not None and h.function != function]
            )

    def discard(self, key: str, handler: Handler) -> None:
        """A listener that was registered for one call has had it."""
        for table in self._tables(key):
            keep(table, key, [h for h in table.get(key, ()) if h is not handler])

    def functions(self, name: str | float) -> list[Callable[..., Any]]:
        """The listeners of one name."""
        key = key_of(name)
        return [handler.function for handler in self._tables(key)[0].get(key, ())]

    def names(self) -> list[str]:
        """The names that are listened to."""
        return list(dict.fromkeys([*self.lifecycle, *self.events, *self.others]))

    def extend(self, other: Handlers) -> None:
        """Take over the listeners of another emitter."""
        for own, table in (
            (self.lifecycle, other.lifecycle),
            (self.events, other.events),
            (self.others, other.others),
        ):
            for name, handlers in table.items():
                own.setdefault(name, []).extend(handlers)
        self.incoming.extend(other.incoming)
        self.outgoing.extend(other.outgoing)


def keep(table: dict[str, list[Handler]], key: str, handlers: list[Handler]) -> None:
    """Let these be the listeners of a name."""
    if handlers:
        table[key] = handlers
    else:
        table.pop(key, None)


def key_of(name: str | float) -> str:
    """Return the text under which the listeners of an event are kept: a number's is that of JavaScript."""
    if isinstance(name, str):
        return ALIASES.get(name, name)
    return key_text(name)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether what a function returns must be awaited, as far as one can see."""
    call = getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
    return any(map(inspect.iscoroutinefunction, (function, inspect.unwrap(function), call)))


def annotations_of(function: Callable[..., Any], names: Collection[str]) -> dict[str, Any]:
    """Return the annotations of the parameters of these names.

    :raises TypeError: if one cannot be resolved: it names something that is not there when the listener is registered.
    """
    target = inspect.unwrap(function)
    if isinstance(target, functools.partial):
        target = inspect.unwrap(target.func)
    if not inspect.isfunction(target) and not inspect.ismethod(target):
        target = inspect.unwrap(getattr(target, "__call__", target))  # noqa: B004
    annotations = getattr(target, "__annotations__", {})
    holder = types.SimpleNamespace(
        __annotations__={name: annotations[name] for name in names if name in annotations}
    )
    try:
        return typing.get_type_hints(holder, globalns=getattr(target, "__globals__", {}), include_extras=True)
    except (NameError, AttributeError) as error:
        raise TypeError(f"the annotations of {function!r} cannot be resolved: {error}") from error
