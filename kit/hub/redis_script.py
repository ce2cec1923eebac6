"""What Redis does by itself with a room, in one step: the script of `kit.hub.redis`, and its keys."""

from __future__ import annotations

from typing import Any

from kit.hub.book import kept
from kit.hub.broker import BrokerLimits

__all__ = ["LOAD", "call", "state_of", "stream_of"]

ROOM_SECONDS = 7 * 24 * 3600

# A room is a hash with its epoch and last offset, and a stream whose ids are "<microsecond in which the epoch began>-<offset>": a new epoch's
# ids come after those of all epochs before, so that a reader that waits behind an old id sees it. The epoch ends with a mark of the server's
# memory; another mark, a missing stream, or being told that an epoch is spoiled, begins a new one. Without a payload it only looks.
# Who listens gets the id, and the payload unless it is long: what a listener has not read yet, Redis holds only up to 32 MB.
SCRIPT = b"""
local state, stream = KEYS[1], KEYS[2]
local mark, kept, kept_bytes, seconds, spoiled, payload = unpack(ARGV)
for key, kind in pairs({[state] = 'hash', [stream] = 'stream'}) do
    local found = redis.call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
local epoch, offset = unpack(redis.call('HMGET', state, 'epoch', 'offset'))
offset = tonumber(offset) or 0

local function begin()
    local now = redis.call('TIME')
    epoch, offset = string.format('%.0f', now[1] * 1000000 + now[2]) .. '.' .. mark, 0
    redis.call('DEL', state, stream)
    redis.call('HSET', state, 'epoch', epoch, 'offset', 0)
end

local refusal
local function add()
    offset = offset + 1
    local id = string.match(epoch, '^%d+') .. '-' .. string.format('%.0f', offset)
    local reply = redis.pcall('XADD', stream, 'MAXLEN', '~', kept, id, 'p', payload)
    refusal = type(reply) == 'table' and reply.err
    if not refusal then redis.call('PUBLISH', stream, id .. ' ' .. (#payload <= 16384 and payload or '')) end
    return not refusal
end

local function trim()  -- the newest half of what may be kept stays
    local size, from = 0, '+'
    repeat
        local entries = redis.call('XREVRANGE', stream, from, '-', 'COUNT', 8)
        for _, entry in ipairs(entries) do
            size = size + #(entry[2][2] or '')
            if size > kept_bytes / 2 then return redis.call('XTRIM', stream, 'MINID', entry[1]) end
            from = '(' .. entry[1]
        end
    until #entries == 0
end

if not epoch or epoch == spoiled or string.sub(epoch, -#mark) ~= mark or (offset > 0 and redis.call('EXISTS', stream) == 0) then begin() end
if payload then
    if not add() then
        if string.sub(refusal, 1, 4) ~= 'ERR ' then return redis.error_reply(refusal) end  -- such as OOM: it is not about this message
        -- somebody else has written here: go on after that, or begin anew if there is no number after it
        local top = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
        local base, number = string.match(top and top[1] or '', '^(%d+)-(%d+)$')
        if base == string.match(epoch, '^%d+') and tonumber(number) < 1e15 then offset = tonumber(number) else begin() end
        if not add() then return redis.error_reply(refusal) end
    end
    redis.call('HSET', state, 'offset', string.format('%.0f', offset))
    if redis.call('HINCRBY', state, 'bytes', #payload) > tonumber(kept_bytes) / 2 then
        trim()
        redis.call('HSET', state, 'bytes', 0)
    end
end
redis.call('EXPIRE', state, seconds)
redis.call('EXPIRE', stream, seconds)
return {epoch, string.format('%.0f', offset)}
"""
LOAD = (b"SCRIPT", b"LOAD", SCRIPT)


def call(sha: bytes, room: str, mark: bytes, limits: BrokerLimits, *, spoiled: str = "", payload: bytes | None = None) -> tuple[Any, ...]:
    """The command that runs it, once it is loaded."""
    more = () if payload is None else (payload,)
    return (b"EVALSHA", sha, 2, state_of(room), stream_of(room), mark, *kept(limits), ROOM_SECONDS, spoiled, *more)


def state_of(room: str) -> bytes:
    """The key of its epoch and last offset."""
    return b"kit:room:" + room.encode()


def stream_of(room: str) -> bytes:
    """The key of its messages, and the channel on which they are told."""
    return b"kit:stream:" + room.encode()
