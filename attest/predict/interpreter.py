"""Runs a GRUB script: measures every command, follows branches, loops and functions.

Source: GRUB 2.06, script/execute.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from attest.predict.environment import Environment
from attest.predict.measuring import Measurements
from attest.predict.script import At, Source
from attest.predict.syntax import Block, Command, Commands, For, Function, If, Node, While, parse

OK: Final = 0
TEST_FAILURE: Final = 1
"""``grub_err_t`` of what is false (include/grub/err.h)."""
FILE_NOT_FOUND: Final = 5
MAX_RECURSION: Final = 64
"""MAX_RECURSION_DEPTH of script/execute.c."""
MAX_STEPS: Final = 1 << 17
"""Commands, lists and branches of one run; a script can loop."""
_MAX_DIGITS: Final = 6

Status: TypeAlias = int | None
"""What a command returns; None where that is known at run time only."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command with the words after its name, as it runs; ``block`` is not among them."""

    name: str
    arguments: tuple[str, ...]
    block: Block | None
    at: At


Builtin: TypeAlias = Callable[[Call], Status]


class Interpreter:
    """Executes scripts; ``stopped`` is set by the command that hands over to Xen, and ends everything."""

    def __init__(
        self, environment: Environment, measurements: Measurements, builtins: Mapping[str, Builtin]
    ) -> None:
        self._environment = environment
        self._measurements = measurements
        self._builtins = dict(builtins) | self._control()
        self._functions: dict[str, Commands] = {}
        self._steps = 0
        self._depth = 0
        self._calls = 0
        self._loops = 0
        self._breaks = 0
        self._continues = False
        self._returns = False
        self.stopped = False

    def run(self, source: Source) -> None:
        """Run a script line by line, up to its end or until ``stopped``."""
        for line in parse(source):
            for each in line:
                if isinstance(each, Function):
                    self._functions[each.name] = each.body
            commands = tuple(each for each in line if not isinstance(each, Function))
            if commands:
                self._run(Commands(commands))
            if self.stopped:
                return

    def _control(self) -> dict[str, Builtin]:
        return {
            "break": self._break,
            "continue": self._break,
            "return": self._return,
            "setparams": self._setparams,
            "shift": self._shift,
        }

    def _run(self, node: Node) -> Status:
        self._depth += 1
        self._steps += 1
        if self._depth >= MAX_RECURSION or self._steps > MAX_STEPS:
            raise _at(node).unresolved("the script calls itself too deeply, or does not end")
        status = self._dispatch(node)
        self._depth -= 1
        self._environment.status = status
        return status

    def _dispatch(self, node: Node) -> Status:
        if isinstance(node, Command):
            return self._command(node)
        if isinstance(node, Commands):
            return self._list(node)
        if isinstance(node, If):
            return self._if(node)
        return self._for(node) if isinstance(node, For) else self._while(node)

    def _list(self, node: Commands) -> Status:
        status: Status = OK
        for each in node.items:
            if self._breaks:
                break
            status = self._run(each)
            if self._ends():
                break
        return status

    def _ends(self) -> bool:
        return self._returns or self.stopped

    def _if(self, node: If) -> Status:
        status = self._run(node.condition)
        if self._ends():
            return status
        branch = node.then if self._holds(status, node.at) else node.otherwise
        return OK if branch is None else self._run(branch)

    @staticmethod
    def _holds(status: Status, at: At) -> bool:
        if status is None:
            raise at.unresolved("whether the condition holds is known at run time only")
        return status == OK

    def _for(self, node: For) -> Status:
        self._loops += 1
        status: Status = OK
        for word in self._environment.expand(node.words, node.at):
            if self._continues and self._breaks == 1:
                self._breaks = 0
            if not self._breaks:
                self._environment.set(node.name, word)
                status = self._run(node.body)
                if self._ends():
                    break
        self._end_loop()
        return status

    def _while(self, node: While) -> Status:
        self._loops += 1
        while True:
            status = self._run(node.condition)
            if self._ends() or self._holds(status, node.at) is node.until:
                break
            status = self._run(node.body)
            if self._ends():
                break
            if self._continues and self._breaks == 1:
                self._breaks = 0
            if self._breaks:
                break
        self._end_loop()
        return status

    def _end_loop(self) -> None:
        self._breaks = max(self._breaks - 1, 0)
        self._loops -= 1

    def _command(self, node: Command) -> Status:
        block = None if node.block is None else node.block.text
        words = self._environment.expand(node.words, node.at, block)
        if not words:
            return OK
        self._measurements.command(words, node.at)
        names = words if node.block is None else words[:-1]
        inverted = names[:1] == ("!",)
        names = names[1:] if inverted else names
        if not names:
            raise node.at.misused("no command is named")
        status = self._call(Call(names[0], names[1:], node.block, node.at))
        if inverted and status is not None:
            return TEST_FAILURE if status == OK else OK
        return status

    def _call(self, call: Call) -> Status:
        if builtin := self._builtins.get(call.name):
            if call.block is not None and call.name not in {"menuentry", "submenu"}:
                raise call.at.misused(f"{call.name} takes no {{ block }}")
            return builtin(call)
        if body := self._functions.get(call.name):
            return self._function(body, call)
        if "=" in call.name:
            return self._builtins["set"](Call("set", (call.name,), None, call.at))
        message = f"it is not known what '{call.name}' measures; only Xen by multiboot2 can be predicted"
        raise call.at.misused(message)

    def _function(self, body: Commands, call: Call) -> Status:
        outer, loops = self._environment.arguments, self._loops
        self._environment.arguments, self._loops = list(call.arguments), 0
        self._calls += 1
        status = self._run(body)
        self._calls -= 1
        self._environment.arguments, self._loops = outer, loops
        self._returns = False
        return status

    def _break(self, call: Call) -> Status:
        count = _number(call)
        if count == 0:
            raise call.at.misused(f"{call.name} 0 is no number of loops")
        self._continues = call.name == "continue"
        self._breaks = min(1 if count is None else count, self._loops)
        return OK

    def _return(self, call: Call) -> Status:
        if not self._calls:
            raise call.at.misused("return outside a function")
        self._returns = True
        return _number(call) if call.arguments else self._environment.status

    def _shift(self, call: Call) -> Status:
        count = _number(call) if call.arguments else 1
        arguments = self._environment.arguments
        if arguments is not None and count is not None:
            if count > len(arguments):
                raise call.at.misused(f"shift {count}: there are {len(arguments)} arguments")
            del arguments[:count]
        return OK

    def _setparams(self, call: Call) -> Status:
        if self._environment.arguments is None:
            raise call.at.misused("setparams outside a function or menu entry")
        self._environment.arguments = list(call.arguments)
        return OK


def _number(call: Call) -> int | None:
    """Return the number that a command is called with; None without one."""
    if not call.arguments:
        return None
    word = call.arguments[0]
    if len(call.arguments) > 1 or not word.isascii() or not word.isdigit() or len(word) > _MAX_DIGITS:
        raise call.at.misused(f"{call.name} takes one number")
    return int(word)


def _at(node: Node) -> At:
    return _at(node.items[0]) if isinstance(node, Commands) else node.at
