"""The application's functions: what they take, how they are called, where they are kept.

Two registries never meet: lifecycle names are routed when a listener is registered, client events are looked up among
client events only, so that no client can run a lifecycle listener by sending its name.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sio_core.api.payloads import Converter, InvalidPayload, make_converter

__all__ = ["LIFECYCLE", "Ack", "Handler", "Handlers"]

Function = TypeVar("Function", bound=Callable[..., Any])

LIFECYCLE: Final = frozenset(("connection", "disconnecting", "disconnect", "error", "new_namespace"))
ALIASES: Final = {"connect": "connection"}
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
        self.asynchronous = thread or inspect.iscoroutinefunction(inspect.unwrap(function))
        call = getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
        if inspect.iscoroutinefunction(call):
            self.asynchronous = True
        parameters = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL}
        ]
        hints = annotations_of(function)
        self._maximum = len(parameters)
        self._minimum = 0
        self._ack_index = -1
        self._names: list[str] = []
        self._converters: list[tuple[int, Converter]] = []
        for index, parameter in enumerate(parameters):
            annotation = hints.get(parameter.name, Any)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._maximum = UNLIMITED
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
            try:
                args[index] = converter(args[index])
            except ValueError as error:  # both msgspec's and pydantic's are
                raise InvalidPayload(event, self._names[index], str(error)) from error
        return args


class Handlers:
    """The listeners of one emitter.

    :ivar events: by client event.
    :ivar lifecycle: by lifecycle name.
    :ivar incoming: called for every event that comes.
    :ivar outgoing: called for every event that goes.
    """

    __slots__ = ("_leading", "events", "incoming", "lifecycle", "outgoing")

    def __init__(self, leading: int) -> None:
        self._leading = leading
        self.events: dict[str | int, list[Handler]] = {}
        self.lifecycle: dict[str, list[Handler]] = {}
        self.incoming: list[Callable[..., Any]] = []
        self.outgoing: list[Callable[..., Any]] = []

    def add(
        self,
        name: str,
        function: Function | None,
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
        if not isinstance(name, str | int) or not callable(function):
            raise TypeError(f"on(name, function) takes the name of an event, not {name!r}, and a function")
        name = ALIASES.get(name, name)
        table: dict[Any, list[Handler]] = self.lifecycle if name in LIFECYCLE else self.events
        leading = 0 if name == "new_namespace" else self._leading
        handler = Handler(function, leading=leading, once=once, ordered=ordered, thread=thread)
        table.setdefault(name, []).append(handler)
        return function

    def remove(self, name: str | None, function: Callable[..., Any] | None) -> None:
        """Forget one listener, all of one name, or all."""
        if name is None:
            self.events.clear()
            self.lifecycle.clear()
            return
        name = ALIASES.get(name, name)
        table: dict[Any, list[Handler]] = self.lifecycle if name in LIFECYCLE else self.events
        kept = [h for h in table.get(name, ()) if function is not None and h.function != function]
        if kept:
            table[name] = kept
        else:
            table.pop(name, None)

    def discard(self, table: dict[Any, list[Handler]], name: str | int, handler: Handler) -> None:
        """A listener that was registered for one call has had it."""
        kept = [h for h in table.get(name, ()) if h is not handler]
        if kept:
            table[name] = kept
        else:
            table.pop(name, None)

    def functions(self, name: str) -> list[Callable[..., Any]]:
        """The listeners of one name."""
        name = ALIASES.get(name, name)
        table: dict[Any, list[Handler]] = self.lifecycle if name in LIFECYCLE else self.events
        return [handler.function for handler in table.get(name, ())]

    def copy_lifecycle(self, other: Handlers) -> None:
        """Take over the lifecycle listeners of another emitter."""
        for name, handlers in other.lifecycle.items():
            self.lifecycle.setdefault(name, []).extend(handlers)


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function's parameters; those that cannot be resolved are left out."""
    target = inspect.unwrap(function)
    if not inspect.isfunction(target) and not inspect.ismethod(target):
        target = getattr(target, "__call__", target)  # noqa: B004
    try:
        hints = typing.get_type_hints(target)
    except NameError as error:
        raise TypeError(f"the annotations of {function!r} cannot be resolved: {error}") from error
    except TypeError:
        return {}
    hints.pop("return", None)
    return hints
