import LarisProtocol

extension Laris_Code {
  /// As the contract spells it: OUT_OF_STOCK.
  public var contractName: String {
    var text = ""
    for character in "\(self)" {
      if character.isUppercase { text.append("_") }
      text.append(character.uppercased())
    }
    return text
  }
}
