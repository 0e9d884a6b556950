--- Where the runtime stands, as the language servers report it (`understudy/status`).
local M = {}

M.METHOD = 'understudy/status'

---@class understudy.Status
---@field state string off, starting, loading, compiling, ready or failed
---@field model string
---@field adapter string? its id; nil for the base model
---@field adapterName string?
---@field strength number
---@field progress number? 0 to 1 while loading or compiling
---@field message string
---@field noModel boolean there is none on this machine yet; false if there is a broken one
---@field remedy string? the command that mends what is wrong
---@field disabled boolean switched off everywhere
---@field skip string? why there was nothing the last time; nil if there was something
---@field sentence string the same for people
---@field remote string? the host that code is sent to; nil with a model on this machine
---@field latencyMs number? of the last suggestion
---@field night understudy.Night? that goes on, whoever began it

---@class understudy.Night
---@field share number? 0 to 1 of its stage, if that can be told
---@field sentence string

local by_client = {} ---@type table<integer, understudy.Status>
local watchers = {} ---@type fun(new: understudy.Status, old: understudy.Status)[]

--- The status of a client; a table without fields if nothing is known yet.
---@param client vim.lsp.Client?
---@return understudy.Status
function M.of(client)
  return client and by_client[client.id] or {}
end

--- Handler of the notification.
function M.handler(_, params, context)
  local new, old = {}, by_client[context.client_id] or {}
  for name, value in pairs(params) do
    new[name] = value ~= vim.NIL and value or nil
  end
  by_client[context.client_id] = new
  for _, watcher in ipairs(watchers) do
    watcher(new, old)
  end
  vim.api.nvim_exec_autocmds('User', { pattern = 'UnderstudyStatus', modeline = false, data = new })
  vim.cmd.redrawstatus({ bang = true })
end

---@param client_id integer
function M.forget(client_id)
  by_client[client_id] = nil
end

---@param watcher fun(new: understudy.Status, old: understudy.Status)
function M.watch(watcher)
  watchers = { watcher }
end

---@param status understudy.Status
---@return string
local function runtime(status)
  if not status.state then
    return 'understudy: no server'
  end
  if status.disabled then
    return 'understudy: off'
  end
  if status.noModel then
    return 'understudy: no model yet'
  end
  if status.state ~= 'ready' then
    local progress = status.progress and (' %d%%'):format(status.progress * 100) or ''
    return ('understudy: %s%s'):format(status.state, progress)
  end
  local words = { 'understudy:', status.model }
  if status.adapterName then
    words[#words + 1] = ('+ %s%s'):format(status.adapterName, status.strength ~= 1 and (' × %.2g'):format(status.strength) or '')
  end
  if status.remote then
    words[#words + 1] = 'remote: ' .. status.remote
  end
  if status.latencyMs then
    words[#words + 1] = ('%d ms'):format(status.latencyMs)
  end
  return table.concat(words, ' ')
end

--- One line for people: state, model, adapter, latency, and a night that goes on.
---@param status understudy.Status
---@return string
function M.line(status)
  local night = status.night
  if not night then
    return runtime(status)
  end
  local share = night.share and (' %.0f%%'):format(100 * night.share) or ''
  return ('%s, learning%s'):format(runtime(status), share)
end

return M
