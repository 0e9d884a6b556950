--- The keys of insert mode. A key does what it did before wherever there is no suggestion to act on.
local ghost = require('understudy.ghost')

local M = {}

--- What each name of `keys` does; true if it did something.
---@type table<string, fun(): boolean>
M.actions = {
  accept = function()
    return ghost.accept('whole')
  end,
  accept_word = function()
    return ghost.accept('word')
  end,
  accept_line = function()
    return ghost.accept('line')
  end,
  next = function()
    return M.ask_or_cycle(1)
  end,
  previous = function()
    return M.ask_or_cycle(-1)
  end,
  dismiss = function()
    return ghost.dismiss()
  end,
  trigger = function()
    ghost.trigger()
    return true
  end,
}

function M.ask_or_cycle(step)
  ghost.cycle(step)
  return true
end

--- Keep what a key does now under a name of ours, so that it can be done in place of our action.
---@param key string
---@return string
local function fallback(key)
  local name = '<Plug>(understudy-else-' .. key:gsub('[<>|\\]', '') .. ')'
  local before = vim.fn.maparg(key, 'i', false, true)
  if vim.tbl_isempty(before) or before.buffer == 1 then
    vim.keymap.set('i', name, key)
  elseif not (before.desc or ''):find('^understudy: ') then
    before.lhs, before.lhsraw, before.lhsrawalt = name, vim.keycode(name), nil
    vim.fn.mapset('i', false, before)
  end
  return name
end

--- Do what a key is for, or else what it did before.
---@param name string
---@param otherwise string
local function press(name, otherwise)
  if not M.actions[name]() then
    vim.api.nvim_feedkeys(vim.keycode(otherwise), 'im', false)
  end
end

--- Map the keys that the user chose.
---@param keys understudy.Keys|false
function M.map(keys)
  for name, key in pairs(keys or {}) do
    if key then
      local otherwise = fallback(key)
      -- A command, not an expression: that would be looked at before what was typed just ahead of it stands in the buffer.
      vim.keymap.set('i', key, function()
        press(name, otherwise)
      end, { silent = true, desc = 'understudy: ' .. name:gsub('_', ' ') })
    end
  end
end

return M
