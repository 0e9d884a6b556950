--- Understudy for Neovim: inline code completion from the language server `understudy lsp`. `:help understudy`.
local M = {}

local has_told_no_model = false

--- The runtime reports something: what is on the screen may be somebody else's by now.
---@param new understudy.Status
---@param old understudy.Status
local function status_changed(new, old)
  local other_voice = new.model ~= old.model or new.adapter ~= old.adapter or new.strength ~= old.strength
  if new.state ~= old.state or other_voice or new.disabled ~= old.disabled then
    require('understudy.ghost').refresh()
  end
  if new.noModel and not has_told_no_model then
    has_told_no_model = true
    vim.notify('understudy: no model yet; `:Understudy setup` brings one')
  end
end

--- Begin. Call it once; calling it again takes over other options.
---@param options table? see `:help understudy-options`
function M.setup(options)
  if vim.fn.has('nvim-0.10') == 0 then
    return vim.notify('understudy: Neovim 0.10 or later is needed', vim.log.levels.ERROR)
  end
  local taken = require('understudy.config').take(options or {})
  local ghost, screen = require('understudy.ghost'), require('understudy.screen')
  local group = vim.api.nvim_create_augroup('understudy', { clear = true })
  screen.set_highlights()
  vim.api.nvim_create_autocmd('ColorScheme', { group = group, callback = screen.set_highlights })
  ghost.set_automatic(taken.automatic)
  ghost.watch(group)
  require('understudy.keys').map(taken.keys)
  require('understudy.status').watch(status_changed)
  require('understudy.server').watch(group)
end

--- Whether a suggestion is on the screen.
---@return boolean
function M.is_visible()
  return require('understudy.ghost').is_visible()
end

--- Take the suggestion, or its next word or line. For mappings of your own, and for those of completion plugins.
---@param part? understudy.Part 'whole' if not given
---@return boolean whether there was anything to take
function M.accept(part)
  return require('understudy.ghost').accept(part or 'whole')
end

--- Take the suggestion off the screen until the text changes.
---@return boolean whether there was any
function M.dismiss()
  return require('understudy.ghost').dismiss()
end

--- Show the next suggestion, asking for more if there is only one.
function M.next()
  require('understudy.ghost').cycle(1)
end

--- Show the suggestion before.
function M.previous()
  require('understudy.ghost').cycle(-1)
end

--- Ask for suggestions now.
function M.trigger()
  require('understudy.ghost').trigger()
end

--- For a statusline: `%{v:lua.require'understudy'.statusline()}`.
---@return string empty in a buffer without language server
function M.statusline()
  local client = require('understudy.server').client(vim.api.nvim_get_current_buf())
  local status = require('understudy.status')
  return client and status.line(status.of(client)) or ''
end

return M
