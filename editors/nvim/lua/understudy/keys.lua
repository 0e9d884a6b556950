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

local otherwise = {} ---@type table<string, string> what to press in place of each action

--- What is mapped for a key in all buffers, be it behind a buffer's own mapping.
---@param key string
---@return table<string, any>?
local function mapping(key)
  local code = vim.keycode(key)
  return vim.iter(vim.api.nvim_get_keymap('i')):find(function(one)
    return vim.keycode(one.lhs) == code
  end)
end

--- Keep what a key does now under a name of ours, so that it can be done in place of our action.
---@param key string
---@return string
local function fallback(key)
  local name = '<Plug>(understudy-else-' .. key:gsub('[<>|\\]', '') .. ')'
  if vim.fn.maparg(name, 'i') ~= '' then
    return name -- `setup` was called before: whoever has mapped over us since leads back to us
  end
  local before = mapping(key)
  if before then
    before.lhs, before.lhsraw, before.lhsrawalt = name, vim.keycode(name), nil
    vim.fn.mapset('i', false, before)
  else
    vim.keymap.set('i', name, key)
  end
  return name
end

--- Do what a key is for, or else what it did before.
---@param name string
function M.press(name)
  if not M.actions[name]() then
    vim.api.nvim_feedkeys(vim.keycode(otherwise[name]), 'im', false)
  end
end

--- Map the keys that the user chose.
---@param keys understudy.Keys|false
function M.map(keys)
  for name, key in pairs(keys or {}) do
    if key then
      otherwise[name] = fallback(key)
      -- A command, not an expression: that would be looked at before what was typed just ahead of it stands in the buffer.
      -- Its name, not a function: blink.cmp would call that later, after the keys that were typed behind it.
      local press = ('<Cmd>lua require("understudy.keys").press("%s")<CR>'):format(name)
      vim.keymap.set('i', key, press, { silent = true, desc = 'understudy: ' .. name:gsub('_', ' ') })
    end
  end
end

return M
