--- Ghost text: asks as the user types, shows what comes, keeps it while they type along, and puts it into the buffer.
---
--- One suggestion at a time, in the window where the user inserts. What is shown is held against the buffer anew whenever it matters,
--- so it is right however fast keys come: events are skipped while more keys wait.
local api = vim.api
local lsp = require('understudy.lsp')
local menus = require('understudy.menus')
local parts = require('understudy.parts')
local screen = require('understudy.screen')
local server = require('understudy.server')
local Suggestion = require('understudy.suggestion')

local M = {}

local INVOKED, AUTOMATIC = 1, 2 -- LSP's InlineCompletionTriggerKind

---@class understudy.Place
---@field buf integer
---@field tick integer
---@field row integer
---@field col integer

local shown ---@type understudy.Suggestion?
local looked_at ---@type understudy.Place? where the user was last seen
local pending ---@type {client: vim.lsp.Client, id: integer?}?
local dismissed ---@type {buf: integer, tick: integer}?
local automatic = true

--- Where the user inserts text right now; nil if they do not, or where nothing may be shown.
---@return understudy.Place?
local function here()
  local buf = api.nvim_get_current_buf()
  if api.nvim_get_mode().mode:sub(1, 1) ~= 'i' or vim.fn.reg_executing() ~= '' or not vim.bo[buf].modifiable then
    return nil
  end
  local row, col = unpack(api.nvim_win_get_cursor(0))
  return { buf = buf, tick = api.nvim_buf_get_changedtick(buf), row = row - 1, col = col }
end

local function cancel()
  if pending and pending.id and not lsp.is_stopped(pending.client) then
    lsp.cancel(pending.client, pending.id)
  end
  pending = nil
end

local function draw()
  local rest = shown and shown:rest()
  local place = here()
  if not rest or not place or menus.is_selected() then
    return screen.clear()
  end
  local hint = #shown.items > 1 and (' %d/%d'):format(shown.index, #shown.items) or nil
  screen.draw(place.buf, place.row, place.col, rest, shown.after:sub(1, shown:item().cover), hint)
end

--- Whether an answer may take the place of what is shown: it may go on with it, and never change it under the user's eyes.
---@param new understudy.Suggestion
local function may_replace(new)
  local rest = shown and shown:rest()
  if not rest then
    return true
  end
  return #shown.items == 1 and vim.startswith(new:rest(), rest)
end

---@param kind integer
---@param step (1|-1)? with an answer of several, show the one that lies so far on
local function ask(kind, step)
  cancel()
  local place = here()
  local client = place and server.client(place.buf)
  if not place or not client then
    return
  end
  local params = lsp.cursor_params(client)
  params.context = { triggerKind = kind }
  local request = { client = client }
  pending = request
  request.id = lsp.request(client, 'textDocument/inlineCompletion', params, place.buf, function(err, result)
    if pending ~= request then
      return -- a newer one is on its way
    end
    pending = nil
    local now = here()
    if err or not result or not vim.deep_equal(now, place) then
      return
    end
    local new = Suggestion.new(place.buf, client, result.items or result)
    if new and (kind == INVOKED or may_replace(new)) then
      shown = new
      if step and #new.items > 1 then
        new:cycle(step)
      end
      draw()
    end
  end)
end

--- Look where the user is now: keep, shorten or drop what is shown, and ask if they have moved.
function M.follow()
  local place = here()
  if shown and not (place and shown:rest()) then
    shown = nil
  end
  draw()
  if not place then
    looked_at = nil
    return cancel()
  end
  if vim.deep_equal(place, looked_at) then
    return
  end
  looked_at = place
  if dismissed and (dismissed.buf ~= place.buf or dismissed.tick ~= place.tick) then
    dismissed = nil
  end
  if automatic and not dismissed then
    ask(AUTOMATIC)
  end
end

--- Drop what is shown and ask again: another model or adapter speaks now, or the server is there at last.
function M.refresh()
  shown, looked_at = nil, nil
  M.follow()
end

--- Take it off the screen until the text changes.
---@return boolean whether there was anything
function M.dismiss()
  local was_shown = M.is_visible()
  cancel()
  shown = nil
  dismissed = { buf = api.nvim_get_current_buf(), tick = api.nvim_buf_get_changedtick(0) }
  screen.clear()
  return was_shown
end

--- Whether a suggestion is on the screen for the text as it is now.
---@return boolean
function M.is_visible()
  return shown ~= nil and here() ~= nil and shown:rest() ~= nil and not menus.is_selected()
end

--- Ask by hand: several suggestions, with a longer deadline.
function M.trigger()
  dismissed = nil
  ask(INVOKED)
end

--- Show the next suggestion (1) or the one before (-1); asks for more if only one is known.
---@param step 1|-1
function M.cycle(step)
  if shown and #shown.items > 1 then
    shown:cycle(step)
    draw()
  else
    dismissed = nil
    ask(INVOKED, step)
  end
end

--- Take a part of what is shown. Returns at once: the text is put in before any key that is typed later.
---@param part understudy.Part
---@return boolean whether there was anything to take
function M.accept(part)
  if not M.is_visible() then
    return false
  end
  -- Keys, not an edit: this may run inside an expression mapping, where text must not change. Each acceptance is one step of undo.
  local keys = ('<C-g>u<Cmd>lua require("understudy.ghost").insert("%s")<CR><C-g>u'):format(part)
  api.nvim_feedkeys(api.nvim_replace_termcodes(keys, true, false, true), 'ni', false)
  return true
end

--- The edit behind `accept`.
---@param part understudy.Part
function M.insert(part)
  local rest = shown and shown:rest()
  if not shown or not rest then
    return
  end
  local taken, item = parts.cut(rest, part), shown:item()
  local whole = taken == rest
  local row, col = unpack(api.nvim_win_get_cursor(0))
  local lines = vim.split(taken, '\n', { plain = true })
  api.nvim_buf_set_text(shown.buf, row - 1, col, row - 1, col + (whole and item.cover or 0), lines)
  api.nvim_win_set_cursor(0, { row + #lines - 1, #lines[#lines] + (#lines == 1 and col or 0) })
  if whole then
    local client, buf = shown.client, shown.buf
    shown = nil
    server.run(client, item.command, buf)
  end
  M.follow()
end

--- Switch asking while typing on or off; asking by hand always works.
---@param on boolean
function M.set_automatic(on)
  automatic = on
end

--- Follow the user from now on.
---@param group integer autocommand group
function M.watch(group)
  api.nvim_create_autocmd({ 'TextChangedI', 'TextChangedP', 'CursorMovedI', 'WinEnter' }, { group = group, callback = M.follow })
  api.nvim_create_autocmd('ModeChanged', { group = group, pattern = { '*:i*', 'i*:*' }, callback = M.follow })
  menus.watch(group, M.follow)
end

return M
