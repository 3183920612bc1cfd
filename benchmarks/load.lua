-- For wrk: every request presents a token from a queue, and what an exchange hands out in its place
-- is put at the end of the queue. So no two requests present one token, and each is asked for in
-- turn. A token whose answer never came, or refused it, is lost with its session.
--
-- Arguments: files with the head of the request, its body and the tokens; what precedes the next
-- token in an answer ("" where the same one stays good); where to write the tokens that are left,
-- and where the figures; "once" where no token is to be presented a second time.

local thread

function setup(only)
  thread = only
end

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

-- The text before and after the place of something, or nothing.
local function around(text, place)
  local first, last = text:find(place, 1, true)
  if first then
    return text:sub(1, first - 1), text:sub(last + 1)
  end
end

function init(arguments)
  local head, body = read(arguments[1]), read(arguments[2])
  marker = arguments[4]
  left_in, figures_in = arguments[5], arguments[6]
  again = marker == "" and arguments[7] ~= "once"
  asked = -1 -- wrk has one request made to look at, which it does not send
  queue, first, last = {}, 1, 0
  for token in read(arguments[3]):gmatch("[^\n]+") do
    last = last + 1
    queue[last] = token
  end
  local before, after = around(body, "{token}")
  if before then
    local above, below = around(head, "{length}")
    build = function(token)
      local length = #before + #token + #after
      return above .. length .. below .. before .. token .. after
    end
  else
    head = head:gsub("{length}", #body, 1)
    local above, below = around(head, "{token}")
    build = function(token)
      return above .. token .. below .. body
    end
  end
  if marker ~= "" then
    response = carry_on
  end
end

function request()
  asked = asked + 1
  local token = queue[first]
  if not token then
    return build("none-is-left")
  end
  queue[first] = nil
  first = first + 1
  if again then
    last = last + 1
    queue[last] = token
  end
  return build(token)
end

function carry_on(status, headers, body)
  if status < 200 or status > 299 then
    return
  end
  local _, before = body:find(marker, 1, true)
  if before then
    local quote = body:find('"', before + 1, true)
    last = last + 1
    queue[last] = body:sub(before + 1, quote - 1)
  end
end

function done(summary, latency)
  local queue, first, last = thread:get("queue"), thread:get("first"), thread:get("last")
  local left = assert(io.open(thread:get("left_in"), "wb"))
  for number = first, last do
    left:write(queue[number], "\n")
  end
  left:close()
  local errors = summary.errors
  local figures = assert(io.open(thread:get("figures_in"), "wb"))
  figures:write(string.format(
    '{"answers":%d,"unanswered":%d,"seconds":%.6f,"refused":%d,"lost":%d,'
      .. '"p50_ms":%.4f,"p99_ms":%.4f}\n',
    summary.requests, thread:get("asked") - summary.requests, summary.duration / 1e6,
    errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  ))
  figures:close()
end
