-- `:Understudy` is there at once; everything else waits for `require('understudy').setup{}`.
vim.api.nvim_create_user_command('Understudy', function(call)
  require('understudy.commands').run(call.fargs)
end, {
  nargs = '*',
  desc = 'Inline code completion: status, toggles, adapters, learning',
  complete = function(lead, line, position)
    return require('understudy.commands').complete(lead, line:sub(1, position))
  end,
})
