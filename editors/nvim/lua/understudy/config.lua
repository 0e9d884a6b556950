--- What a user may choose: every option with its default, and the check of what `setup` was given.
local M = {}

---@class understudy.Keys keys of insert mode; `false` leaves one unmapped
---@field accept string|false
---@field accept_word string|false
---@field accept_line string|false
---@field next string|false
---@field previous string|false
---@field dismiss string|false
---@field trigger string|false

---@class understudy.Options
---@field command string|string[]|false the `understudy` command; false looks for it
---@field automatic boolean ask while typing
---@field keys understudy.Keys|false
---@field root_markers string[] the folder above a file that holds the first of these is its project: one language server each
---@field log_level 'error'|'warning'|'info'|'debug' of the language server; its log is Neovim's lsp.log
---@field capabilities table laid over the client's capabilities
---@field settings table<string, any> for the language server, see `understudy settings`

---@type understudy.Options
M.defaults = {
  command = false,
  automatic = true,
  keys = {
    accept = '<Tab>',
    accept_word = '<M-Right>',
    accept_line = '<M-Down>',
    next = '<M-n>',
    previous = '<M-p>',
    dismiss = '<C-]>',
    trigger = '<M-/>',
  },
  root_markers = { '.git', '.hg', '.jj', 'pyproject.toml', 'package.json', 'Cargo.toml', 'go.mod' },
  log_level = 'warning',
  capabilities = {},
  settings = {},
}

---@type understudy.Options
M.options = vim.deepcopy(M.defaults)

local TYPES = {
  command = { 'string', 'table', 'boolean' },
  automatic = { 'boolean' },
  keys = { 'table', 'boolean' },
  root_markers = { 'table' },
  log_level = { 'string' },
  capabilities = { 'table' },
  settings = { 'table' },
}

local function snake(key)
  return (key:gsub('(%l)(%u)', '%1_%2'):gsub('[.-]', '_'):lower())
end

--- Names in a table of server settings, nested ones joined as the server joins them.
local function setting_names(settings, above, names)
  for key, value in pairs(settings) do
    local name = above .. snake(tostring(key))
    if type(value) == 'table' and not vim.islist(value) then
      setting_names(value, name .. '_', names)
    else
      names[#names + 1] = name
    end
  end
  return names
end

local function names_of(given)
  local names = vim.tbl_keys(given)
  table.sort(names)
  return table.concat(names, ', ')
end

--- What is wrong with the options given, a sentence each.
---@param given table
---@return string[]
function M.problems(given)
  local found = {}
  for name, value in pairs(given) do
    local expected = TYPES[name]
    if not expected then
      found[#found + 1] = ('option %s is unknown; known are %s'):format(name, names_of(TYPES))
    elseif not vim.list_contains(expected, type(value)) or value == true and name ~= 'automatic' then
      found[#found + 1] = ('option %s is a %s; expected %s'):format(name, type(value), table.concat(expected, ' or '))
    end
  end
  for name in pairs(type(given.keys) == 'table' and given.keys or {}) do
    if M.defaults.keys[name] == nil then
      found[#found + 1] = ('keys.%s is unknown; known are %s'):format(name, names_of(M.defaults.keys))
    end
  end
  local known = require('understudy.settings')
  for _, name in ipairs(setting_names(type(given.settings) == 'table' and given.settings or {}, '', {})) do
    if not vim.list_contains(known, name) then
      found[#found + 1] = ('settings.%s is unknown; `understudy settings` lists them'):format(name)
    end
  end
  return found
end

--- Take options over the defaults; what is wrong is told, and the default stays.
---@param given table
---@return understudy.Options
function M.take(given)
  for _, problem in ipairs(M.problems(given)) do
    vim.notify('understudy: ' .. problem, vim.log.levels.WARN)
  end
  local usable = {}
  for name, value in pairs(given) do
    if TYPES[name] and vim.list_contains(TYPES[name], type(value)) then
      usable[name] = value
    end
  end
  M.options = vim.tbl_deep_extend('force', M.defaults, usable)
  M.options.root_markers = usable.root_markers or M.defaults.root_markers
  return M.options
end

return M
